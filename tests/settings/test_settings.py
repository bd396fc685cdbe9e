"""Settings: precedence of the layers, spellings of keys, values that are refused, secrets that stay secret."""

from __future__ import annotations

import json
import math
import string
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from app.settings import BadSetting, Settings, load, masked
from app.settings.values import quantity, seconds
from app.system import PORTABLE


def load_yaml(tmp_path: Path, text: str, *more: str, **how: Any) -> Any:
    """The settings of some YAML files, in order, with an empty environment unless one is given."""
    files = []
    for number, content in enumerate((text, *more)):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(content)
    return load(files, how.get("flags"), how.get("environ", {}))


def models(model: type[BaseModel], path: str = "") -> dict[str, type[BaseModel]]:
    """Every section below a model, by dotted path."""
    found = {path: model}
    for name, info in model.model_fields.items():
        for part in (info.annotation, *get_args(info.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= models(part, f"{path}.{name}".lstrip("."))
    return found


class TestPrecedence:
    def test_each_layer_beats_the_one_below(self, tmp_path: Path) -> None:
        first, second = "server: {httpPort: 1, grpc: {port: 1}, workers: 2}", "server: {httpPort: 2, host: '::1'}"
        environ = {"FLYTEADMIN__SERVER__HTTPPORT": "3", "FLYTEADMIN__SERVER__READHEADERTIMEOUTSECONDS": "7"}
        assert load_yaml(tmp_path, first).settings.server.http_port == 1
        assert load_yaml(tmp_path, first, second).settings.server.http_port == 2
        assert load_yaml(tmp_path, first, second, environ=environ).settings.server.http_port == 3
        server = load_yaml(
            tmp_path, first, second, environ=environ, flags={"server.http_port": 4, "server.host": None}
        ).settings.server
        assert (server.http_port, server.grpc.port, server.workers, server.host) == (4, 1, 2, "::1")
        assert server.read_header_timeout_seconds == 7

    def test_lists_are_replaced_and_tables_are_merged(self, tmp_path: Path) -> None:
        one = "domains: [{id: a, name: A}, {id: b, name: B}]\nflyteadmin: {labels: {x: '1', y: '1'}}"
        two = "domains: [{id: c, name: C}]\nflyteadmin: {labels: {y: '2'}}"
        settings = load_yaml(tmp_path, one, two).settings
        assert [domain.id for domain in settings.domains] == ["c"]
        assert settings.flyteadmin.labels == {"x": "1", "y": "2"}

    @pytest.mark.parametrize(
        ("name", "value", "path", "expected"),
        [
            ("FLYTEADMIN_HOME", "/h", "home", Path("/h")),
            ("FLYTEADMIN_ENGINE", "none", "engine.kind", "none"),
            ("FLYTEADMIN_STORAGE_URL", "/s", "storage_url", "/s"),
            ("FLYTEADMIN_DATABASE_URL", "sqlite:////d.db", "database_url", "sqlite:////d.db"),
            ("FLYTEADMIN_MCP", "1", "mcp.enabled", True),
            ("FLYTE_API_KEY", " k\n", "mcp.api_key", SecretStr("k")),
            ("flyteadmin__server__http_port", "5", "server.http_port", 5),
            ("FLYTEADMIN__SERVER__DATAPROXY__UPLOAD__MAXEXPIRESIN", "2m", "server.data_proxy.upload", None),
            ("FLYTEADMIN__FLYTEADMIN__METADATASTORAGEPREFIX", "a,b", "flyteadmin.metadata_storage_prefix", ("a", "b")),
            ("FLYTEADMIN__SERVER__SECURITY__ALLOWEDORIGINS", "['x']", "server.security.allowed_origins", ("x",)),
        ],
    )
    def test_environment(self, name: str, value: str, path: str, expected: Any) -> None:
        loaded = load((), None, {name: value})
        found: Any = loaded.settings
        for part in path.split("."):
            found = getattr(found, part)
        assert loaded.warnings == ()
        assert found == expected if expected is not None else found.max_expires_in_seconds == 120

    def test_without_a_file_a_laptop_has_no_limits(self) -> None:
        resources = load((), None, {}).settings.task_resources
        assert resources.defaults.cpu == resources.limits.memory == ""

    def test_with_a_file_upstreams_resources_count(self, tmp_path: Path) -> None:
        resources = load_yaml(tmp_path, "task_resources: {defaults: {memory: 1Gi}}").settings.task_resources
        assert (resources.defaults.cpu, resources.defaults.memory) == ("2", "1Gi")
        assert (resources.limits.cpu, resources.limits.memory, resources.limits.gpu) == ("2", "1Gi", "1")


class TestKeys:
    @pytest.mark.parametrize("section", ["remoteData", "REMOTEDATA", "remote_data", "remote-data"])
    @pytest.mark.parametrize("key", ["maxSizeInBytes", "maxsizeinbytes", "max_size_in_bytes", "MAX-SIZE-IN-BYTES"])
    def test_any_spelling_is_read(self, tmp_path: Path, section: str, key: str) -> None:
        loaded = load_yaml(tmp_path, f"{section}: {{{key}: 5}}")
        assert loaded.settings.remote_data.max_size_in_bytes == 5
        assert loaded.warnings == ()

    @pytest.mark.parametrize(
        ("text", "warned"),
        [
            ("server: {htpPort: 1}", ("server.htpPort", "did you mean server.httpPort?")),
            ("sever: {}", ("sever", "server")),
            ("domains: [{id: a, name: b, nme: c}]", ("domains[0].nme", "name")),
            ("propeller: {rawoutput-prefix: x}", ("propeller", "not used")),
        ],
    )
    def test_an_unknown_key_is_named_with_the_closest_known_one(
        self, tmp_path: Path, text: str, warned: tuple[str, str]
    ) -> None:
        (warning,) = load_yaml(tmp_path, text).warnings
        assert all(part in warning for part in (*warned, "0.yaml"))

    def test_an_unknown_variable_is_named(self) -> None:
        one, two, three = load(
            (), None, {"FLYTEADMIN_HOEM": "x", "FLYTEADMIN_PORT": "1", "FLYTEADMIN__SERVER__PRT": "1", "HOME": "x"}
        ).warnings
        assert "FLYTEADMIN_HOEM" in one
        assert "FLYTEADMIN_HOME?" in one
        assert "FLYTEADMIN_PORT" in two
        assert "FLYTEADMIN__SERVER__PRT" in three

    def test_the_variable_of_the_portable_twin_is_no_setting(self) -> None:
        assert load((), None, {PORTABLE: "1"}).warnings == ()

    def test_no_two_keys_of_a_section_read_alike(self) -> None:
        for path, model in models(Settings).items():
            plain = [name.replace("_", "").removesuffix("seconds") for name in model.model_fields]
            assert len(plain) == len(set(plain)), path

    def test_upstreams_sections_are_all_known(self, tmp_path: Path) -> None:
        names = [
            "server",
            "flyteadmin",
            "database",
            "storage",
            "auth",
            "task_resources",
            "domains",
            "scheduler",
            "notifications",
        ]
        names += [
            "externalEvents",
            "cloudEvents",
            "queues",
            "qualityOfService",
            "namespace_mapping",
            "cluster_resources",
        ]
        names += ["clusters", "clusterPools", "registration", "remoteData", "secrets", "task_type_whitelist", "Logger"]
        content = {name: [] if name == "domains" else {} for name in names}
        assert load_yaml(tmp_path, yaml.safe_dump(content)).warnings == ()

    def test_empty_values_count_as_not_given(self, tmp_path: Path) -> None:
        settings = load_yaml(tmp_path, "flyteadmin:\n  labels:\nserver:\n").settings
        assert settings.flyteadmin.labels == {}
        assert settings.server.http_port == 30080


class TestValues:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("server: {httpPort: x}", ("server.httpPort='x'", "integer")),
            ("server: {httpPort: 70000}", ("server.httpPort=70000", "65535")),
            ("engine: {kind: docker}", ("engine.kind='docker'", "'local', 'kubernetes' or 'none'")),
            ("server: {dataProxy: {upload: {maxExpiresIn: 1y}}}", ("maxExpiresIn='1y'", '"1h30m"')),
            ("task_resources: {limits: {cpu: lots}}", ("task_resources.limits.cpu='lots'", "quantity")),
            ("server: 5", ("server=5", "0.yaml")),
            ("remoteData: {inlineEventDataPolicy: 7}", ("inlineEventDataPolicy=7", "Offload")),
            ("domains: [{id: '', name: x}]", ("domains[0].id", "0.yaml")),
            ("database: {postgres: {password: [1]}}", ("database.postgres.password", "string")),
        ],
    )
    def test_a_bad_value_is_named_with_what_is_allowed(self, tmp_path: Path, text: str, told: tuple[str, ...]) -> None:
        with pytest.raises(BadSetting) as caught:
            load_yaml(tmp_path, text)
        message = str(caught.value)
        assert all(part in message for part in told), message
        assert "\n" not in message

    def test_a_refused_secret_is_not_told(self) -> None:
        with pytest.raises(BadSetting) as caught:
            load((), None, {"FLYTEADMIN__DATABASE__POSTGRES__PASSWORD": "[hunter2]"})
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "told"),
        [("a: [1", "line"), ("- 1", "sections"), ("\x00", "not YAML"), ("just text", "sections")],
    )
    def test_a_file_that_is_no_configuration(self, tmp_path: Path, text: str, told: str) -> None:
        with pytest.raises(BadSetting, match=told):
            load_yaml(tmp_path, text)

    def test_a_value_that_yaml_takes_for_an_alias_is_not_told(self, tmp_path: Path) -> None:
        with pytest.raises(BadSetting, match="not YAML at line 1") as caught:
            load_yaml(tmp_path, "database: {postgres: {password: *hunter2 }}")
        assert "hunter2" not in str(caught.value)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(BadSetting, match="No such file"):
            load([tmp_path / "none.yaml"], None, {})
        with pytest.raises(BadSetting, match="directory"):
            load([tmp_path], None, {})

    @pytest.mark.parametrize("value", [0, "0", "offload", "Offload"])
    def test_policies_have_names_and_numbers(self, value: Any) -> None:
        policy = load((), {"remote_data.inline_event_data_policy": value}, {}).settings.remote_data
        assert policy.inline_event_data_policy == "Offload"

    @pytest.mark.parametrize(
        ("value", "level"),
        [
            ("debug", 5),
            ("DEBUG", 5),
            (" info ", 4),
            ("warning", 3),
            ("warn", 3),
            ("error", 2),
            ("5", 5),
            (2, 2),
            ("0", 0),
        ],
    )
    def test_log_levels_have_names_and_numbers(self, value: Any, level: int) -> None:
        assert load((), None, {"FLYTEADMIN__LOGGER__LEVEL": str(value)}).settings.logger.level == level
        assert load((), {"logger.level": value}, {}).settings.logger.level == level

    @pytest.mark.parametrize("value", ["verbose", "", 7, "7", -1, 2.5])
    def test_other_log_levels_are_refused(self, value: Any) -> None:
        with pytest.raises(BadSetting, match=r"logger.level=.*(debug|6|0|integer)"):
            load((), {"logger.level": value}, {})

    @given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["h", "m", "s", "ms"])), min_size=1, max_size=4))
    def test_durations_add_up(self, parts: list[tuple[int, str]]) -> None:
        unit = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
        text = "".join(f"{number}{name}" for number, name in parts)
        assert seconds(text) == pytest.approx(sum(number * unit[name] for number, name in parts))

    @given(st.text(string.printable, max_size=6))
    def test_a_duration_is_a_finite_time_or_refused(self, text: str) -> None:
        try:
            value = seconds(text)
        except ValueError:
            return
        assert 0 <= value < math.inf
        assert text.strip()[0] in string.digits + "."

    @pytest.mark.parametrize("value", [math.inf, math.nan, -1, True, "nan", "-1s"])
    def test_times_that_never_come_are_refused(self, value: Any) -> None:
        with pytest.raises(BadSetting, match="max_expires_in_seconds"):
            load((), {"server.data_proxy.upload.max_expires_in_seconds": value}, {})

    @pytest.mark.parametrize("text", ["", "1", "500m", "1.5Gi", "2e3", "100M", ".5", "1E"])
    def test_quantities_keep_their_text(self, text: str) -> None:
        assert quantity(text) == text

    @pytest.mark.parametrize("text", ["x", "1 Gi", "1gi", "1KB", "-1", "1.2.3"])
    def test_what_is_no_quantity_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="quantity"):
            quantity(text)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("numpy", ["numpy"]),
            ("numpy pandas", ["numpy", "pandas"]),
            ("numpy, pandas ,torch", ["numpy", "pandas", "torch"]),
            ("flytekit>=1.16.8,<1.17", ["flytekit>=1.16.8,<1.17"]),
            ("f >=1, <2, pandas[excel,xml] torch==2.1", ["f >=1, <2", "pandas[excel,xml]", "torch==2.1"]),
            ("a @ https://h/a.whl b", ["a @ https://h/a.whl", "b"]),
            ("a; python_version < '3.12' and x, ./b", ["a; python_version < '3.12' and x", "./b"]),
            ("git+https://h/o/r@v1#egg=r", ["git+https://h/o/r@v1#egg=r"]),
            ("['numpy>=1', 'pandas']", ["numpy>=1", "pandas"]),
        ],
    )
    def test_requirements_are_a_list_in_any_form(self, text: str, expected: list[str]) -> None:
        environ = {"FLYTEADMIN__ENGINE__LOCAL__REQUIREMENTS": text}
        assert list(load((), None, environ).settings.engine.local.requirements) == expected

    def test_lists_are_split_at_commas_and_spaces(self, tmp_path: Path) -> None:
        environ = {"FLYTEADMIN__MCP__ALLOWEDHOSTS": "a b,c"}
        assert load((), None, environ).settings.mcp.allowed_hosts == ("a", "b", "c")
        headers = load_yaml(tmp_path, "storage: {defaultHttpClient: {headers: {Accept: 'a b, c'}}}").settings
        assert headers.storage.default_http_client.headers == {"Accept": ("a b", "c")}

    def test_the_tree_is_frozen(self) -> None:
        settings = Settings()
        with pytest.raises(ValidationError):
            settings.server.http_port = 1  # type: ignore[misc]


class TestPlaces:
    @pytest.mark.parametrize(
        ("storage", "expected"),
        [
            ({}, "/h/storage"),
            ({"url": "/x/../y/"}, "/y"),
            ({"url": "file:///a%20b"}, "/a b"),
            ({"url": "s3://bucket/prefix/"}, "s3://bucket/prefix"),
            ({"container": "b"}, "s3://b"),
            ({"type": "minio", "container": "b"}, "s3://b"),
            ({"type": "stow", "container": "b", "stow": {"kind": "google"}}, "gs://b"),
            ({"type": "stow", "container": "b", "stow": {"kind": "local", "config": {"path": "/r"}}}, "/r/b"),
            ({"type": "local", "container": "/r"}, "/r"),
        ],
    )
    def test_storage(self, storage: dict[str, Any], expected: str) -> None:
        assert Settings.model_validate({"home": "/h", "storage": storage}).storage_url == expected

    @pytest.mark.parametrize("storage", [{"url": "relative"}, {"type": "mem", "container": "b"}, {"type": "s3"}])
    def test_unusable_storage(self, storage: dict[str, Any]) -> None:
        with pytest.raises(BadSetting, match="storage"):
            _ = Settings.model_validate({"storage": storage}).storage_url

    def test_postgres_section_becomes_a_url(self, tmp_path: Path) -> None:
        (tmp_path / "pw").write_text("p@ss/word\n")
        database = {
            "postgres": {"host": "db", "port": 5432, "dbname": "flyte", "username": "u", "passwordPath": "pw"},
        }
        database["postgres"]["passwordPath"] = str(tmp_path / "pw")
        settings = load_yaml(tmp_path, yaml.safe_dump({"database": database})).settings
        assert settings.database_url == "postgresql://u:p%40ss%2Fword@db:5432/flyte?sslmode=disable"

    @pytest.mark.parametrize(
        ("options", "query"),
        [
            ("sslmode=disable connect_timeout=5", "?sslmode=disable&connect_timeout=5"),
            ("options='-c a=b' sslrootcert = /x/y.pem", "?options=-c%20a%3Db&sslrootcert=/x/y.pem"),
            ("password='it''s'", None),
            ("password='hunter2 x' foo", None),
            ("  ", ""),
        ],
    )
    def test_options_of_postgres_become_a_query(self, options: str, query: str | None) -> None:
        settings = load((), {"database.postgres.options": options}, {}).settings
        if query is None:
            with pytest.raises(BadSetting, match=r"database\.postgres\.options") as caught:
                _ = settings.database_url
            assert "hunter2" not in str(caught.value)
        else:
            assert settings.database_url.endswith(f"/postgres{query}")

    def test_an_unreadable_password_file_is_named(self, tmp_path: Path) -> None:
        settings = load_yaml(tmp_path, "database: {postgres: {passwordPath: /none}}").settings
        with pytest.raises(BadSetting, match="passwordPath=/none"):
            _ = settings.database_url

    @pytest.mark.parametrize("url", ["mysql://u:hunter2@h/d", "sqlite://x.db", "nonsense", "sqlite:///"])
    def test_other_databases_are_refused_without_telling_the_password(self, url: str) -> None:
        settings = load((), {"database.url": url}, {}).settings
        with pytest.raises(BadSetting) as caught:
            _ = settings.database_url
        assert "hunter2" not in str(caught.value)
        assert "postgresql://" in str(caught.value)


@pytest.mark.parametrize("value", ["inf", "nan"])
@pytest.mark.parametrize(
    "name", ["SERVER__DRAINSECONDS", "SERVER__READINESSTIMEOUTSECONDS", "LIMITS__BODYWAITSECONDSMAX"]
)
def test_times_are_finite(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name):
        load(environ={f"FLYTEADMIN__{name}": value})


def test_secrets_are_masked_wherever_settings_are_shown(tmp_path: Path) -> None:
    text = """
database: {url: 'postgresql://u:hunter2@h/d', postgres: {password: hunter2}}
storage:
  connection: {secret-key: hunter2}
  stow: {kind: s3, config: {secret_key: hunter2, access_key_id: hunter2, region: eu}}
cloudEvents: {kafka: {saslConfig: {password: hunter2}}, nats: {tokenAuthentication: {token: hunter2}}}
auth: {appAuth: {selfAuthServer: {staticClients: {x: {id: x, client_secret: hunter2}}}}}
"""
    loaded = load_yaml(tmp_path, text)
    assert not any(warning.startswith("unknown") for warning in loaded.warnings)
    shown = json.dumps(masked(loaded.settings))
    assert "hunter2" not in shown
    assert "hunter2" not in repr(loaded.settings)
    assert "postgresql://u:********@h/d" in shown
    assert masked(loaded.settings)["storage"]["stow"]["config"]["region"] == "eu"
    assert loaded.settings.storage.connection.secret_key.get_secret_value() == "hunter2"


def test_the_conformance_setting_is_understood() -> None:
    loaded = load([Path(__file__).parents[1] / "conformance" / "server.yaml"], None, {})
    resources = loaded.settings.task_resources
    assert loaded.warnings == ()
    assert (resources.defaults.cpu, resources.defaults.memory) == ("500m", "500Mi")
    assert (resources.limits.cpu, resources.limits.memory, resources.limits.gpu) == ("2", "1Gi", "1")
