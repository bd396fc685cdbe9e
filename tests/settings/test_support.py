"""A setting that no code reads is named in a warning when it is set."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import BadSetting, check_served, load
from app.settings.support import WITHOUT_EFFECT
from tests.settings.reads import leaves

PATHS = {".".join(path) for path, _ in leaves()}


def test_each_entry_names_a_setting_or_a_section() -> None:
    for entry in WITHOUT_EFFECT:
        assert any(path == entry or path.startswith(f"{entry}.") for path in PATHS), entry


def test_a_setting_without_effect_is_named_with_source_and_reason(tmp_path: Path) -> None:
    file = tmp_path / "flyte.yaml"
    file.write_text("scheduler: {reconnectAttempts: 1, workflowExecutor: {scheme: aws}}\nremoteData: {region: x}")
    environ = {"FLYTEADMIN__CLOUDEVENTS__KAFKA__VERSION": "2.1.0"}
    assert load([file], None, environ).warnings == (
        f"scheduler.reconnectAttempts, scheduler.workflowExecutor.scheme in {file} have no effect: this server fires "
        "schedules from its database, not from a queue of AWS",
        f"remoteData.region in {file} has no effect: storage.connection.region is the region of the bucket",
        "FLYTEADMIN__CLOUDEVENTS__KAFKA__VERSION in the environment has no effect: librdkafka asks the brokers for "
        "their version",
    )


def test_values_of_tables_and_lists_are_named(tmp_path: Path) -> None:
    file = tmp_path / "flyte.yaml"
    file.write_text("flyteadmin: {metricsKeys: [a]}\nqualityOfService: {defaultTiers: {production: high}}")
    warnings = "\n".join(load([file], None, {}).warnings)
    assert "flyteadmin.metricsKeys[0] in " in warnings
    assert "qualityOfService.defaultTiers.production in " in warnings


@pytest.mark.parametrize(
    "text", ["externalEvents: {enable: false, type: local}", "notifications: {type: ''}", "server: {kube-config: ''}"]
)
def test_a_value_that_asks_for_nothing_is_not_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "flyte.yaml"
    file.write_text(text)
    assert load([file], None, {}).warnings == ()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("database.url", "mysql://x/y", "database.url"),
    ],
)
def test_an_address_of_an_unknown_form_is_refused(path: str, value: object, message: str) -> None:
    settings = load((), {path: value}, {}).settings
    with pytest.raises(BadSetting, match=message):
        check_served(settings)


def test_the_defaults_are_served() -> None:
    check_served(load((), None, {}).settings)
