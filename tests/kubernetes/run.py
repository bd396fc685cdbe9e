"""Plays the recorded conversations with Kubernetes against servers with `engine.kind: kubernetes`.

    python -m tests.kubernetes.run [replay.py's options and case files ...]

replay.py is the API of the clusters. It starts a server for each profile. Database and home are fresh, and an S3 server
holds the data, because the recordings have its addresses.
"""

import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.s3_server import ACCESS_KEY, SECRET_KEY, s3_server

HERE = Path(__file__).parent
BUCKET = "my-s3-bucket"
# The runner listens on this many ports, one after the other.
_CLUSTERS = 3


def replay(home: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Play the cases with servers in home; they write to our own stdout."""
    with s3_server(BUCKET) as endpoint:
        port = _free_port()
        variables = {
            "FLYTEADMIN_HOME": str(home),
            "FLYTEADMIN_ENGINE": "kubernetes",
            "FLYTEADMIN_STORAGE_URL": f"s3://{BUCKET}",
            "FLYTEADMIN__STORAGE__CONNECTION__ENDPOINT": endpoint,
            "FLYTEADMIN__STORAGE__CONNECTION__AUTH_TYPE": "accesskey",
            "FLYTEADMIN__STORAGE__CONNECTION__ACCESS_KEY": ACCESS_KEY,
            "FLYTEADMIN__STORAGE__CONNECTION__SECRET_KEY": SECRET_KEY,
            "FLYTEADMIN__SERVER__HTTP_PORT": str(port),
            "FLYTEADMIN__SERVER__GRPC__PORT": "0",
            "FLYTEADMIN__FLYTEADMIN__PROFILER_PORT": "0",
            "FLYTEADMIN__SERVER__DRAIN_SECONDS": "0",
            "FLYTEADMIN__SCHEDULER__ENABLED": "false",
        }
        # `exec`: the runner waits for the server, not for a shell.
        program = f"exec {shlex.quote(sys.executable)} -m app.cli.main"
        command = [sys.executable, str(HERE / "replay.py"), "--base-url", f"http://localhost:{port}"]
        command += ["--serve", f"{program} serve --config {{config}}"]
        command += ["--sync", f"{program} clusterresource sync --config {{config}}"]
        command += ["--kube-port", str(_free_port(_CLUSTERS)), "--conformance", str(HERE.parent / "conformance")]
        command += ["--deviations", str(HERE / "deviations.yaml"), "--wait", "3", "--settle", "0.2"]
        return subprocess.run([*command, *arguments], check=False, env={**os.environ, **variables})


def _free_port(count: int = 1) -> int:
    """Return the first of so many free ports, one after the other."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
        try:
            for number in range(port, port + count):
                socket.create_server(("127.0.0.1", number)).close()
        except (OSError, OverflowError):
            continue
        return port


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="flyteadmin-kubernetes-") as folder:
        sys.exit(replay(Path(folder) / "home", sys.argv[1:] or [str(HERE / "cases")]).returncode)
