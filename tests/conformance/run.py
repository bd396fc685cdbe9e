"""Starts a server in the setting of the recordings and replays them against it.

    python -m tests.conformance.run [replay.py's options and case files ...]

The server has a fresh home and free ports, so that nothing has to be prepared and nothing is left.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.servers import serving

HERE = Path(__file__).parent


def replay(
    home: Path, arguments: Sequence[str], variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Serve from home, with further environment variables, and play the cases; they write to our own stdout."""
    with serving(home, "--config", str(HERE / "server.yaml"), variables=variables) as server:
        command = [sys.executable, str(HERE / "replay.py"), "--base-url", server.web, "--loose-texts"]
        command += ["--grpc", server.address("REST and gRPC"), "--var", f"store={home / 'storage'}"]
        deviations = HERE / "deviations.yaml"
        if deviations.exists():
            command += ["--deviations", str(deviations)]
        return subprocess.run([*command, *arguments], check=False)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="flyteadmin-conformance-") as folder:
        sys.exit(replay(Path(folder) / "home", sys.argv[1:]).returncode)
