"""Each setting is read by the code or named in a warning when it is set: a rule of `make check`."""

from __future__ import annotations

from app.settings.support import without_effect
from tests.settings.reads import leaves, unread

# The code reads these by getattr, with a name that it puts together or has in a constant.
READ_BY_NAME = (
    "task_resources.defaults.",
    "task_resources.limits.",
    "plugins.agent_service.agent_for_task_types",
    "plugins.connector_service.connector_for_task_types",
)


def test_each_setting_is_read_or_listed_with_a_reason() -> None:
    silent = {path for path in unread() if not path.startswith(READ_BY_NAME) and not without_effect(path)}
    assert silent == set(), "read these settings, or add them to WITHOUT_EFFECT of app/settings/support.py"


def test_no_setting_that_is_read_is_listed() -> None:
    assert {path for path in {".".join(path) for path, _ in leaves()} - unread() if without_effect(path)} == set()
