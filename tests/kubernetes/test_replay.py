"""The recorded conversations of upstream with Kubernetes, replayed against servers of ours.

How: everything runs as users run it, by tests/kubernetes/run.py; what is meant to differ is in deviations.yaml.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kubernetes.run import replay

HERE = Path(__file__).parent


@pytest.mark.slow
def test_every_recorded_conversation(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = replay(tmp_path / "home", [str(HERE / "cases")])
    said = capfd.readouterr().out
    assert done.returncode == 0, said
    passed = int(said.strip().splitlines()[-1].split()[0])
    assert passed > 130, said
