"""The recorded conversations with upstream, replayed against a server of ours on both databases.

How: everything runs as users run it, by tests/conformance/run.py; what is meant to differ is in deviations.yaml.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.run import replay
from tests.support.clusters import Postgres

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("database", [pytest.param("sqlite", marks=pytest.mark.smoke), "postgresql"])
def test_every_recorded_conversation(
    database: str, request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    variables = {}
    if database == "postgresql":
        cluster: Postgres = request.getfixturevalue("postgres")
        variables["FLYTEADMIN_DATABASE_URL"] = cluster.create()
    done = replay(tmp_path / "home", ["--jobs", "2"], variables)
    said = capfd.readouterr().out
    assert done.returncode == 0, said
    passed = int(said.strip().splitlines()[-1].split()[0])
    assert passed > 1000, said
