"""Credentials that change: token files and exec plugins, with a cluster that accepts some tokens only."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.engine.kubernetes import credentials
from app.engine.kubernetes.api import ApiError, ClusterApi
from app.engine.kubernetes.kubeconfig import of_file
from app.settings.server import KubeClient
from app.settings.values import BadSetting
from tests.support.certificates import Authority, write_pair
from tests.support.kubernetes_api import FakeCluster, failure, fake_cluster

V1 = "client.authentication.k8s.io/v1"
# Each run adds a line to the file `runs`, and prints the file `answer`.
PLUGIN = """#!/bin/sh
cd "$(dirname "$0")"
echo "$KUBERNETES_EXEC_INFO|$*|$COLOUR" >> runs
cat answer
"""


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with fake_cluster() as found:
        yield found


def call(path: str, *, times: int = 1, at_once: bool = False, between: Callable[[int], None] = lambda _: None) -> None:
    """Ask for objects that are not there; raise an ApiError other than 404."""

    async def one(api: ClusterApi) -> None:
        try:
            await api.get("p-development", "e1")
        except ApiError as error:
            if error.status != 404:
                raise

    async def scenario() -> None:
        api = ClusterApi(of_file(path, master=""), KubeClient(), requests_max=10)
        try:
            if at_once:
                await asyncio.gather(*(one(api) for _ in range(times)))
            for number in range(0 if at_once else times):
                await one(api)
                between(number)
        finally:
            await api.close()

    asyncio.run(scenario())


class Plugin:
    """An exec plugin in a folder, beside its kubeconfig file."""

    def __init__(self, cluster: FakeCluster, folder: Path, version: str = V1, **more: Any) -> None:
        self._folder, self._version = folder, version
        script = folder / "plugin"
        script.write_text(PLUGIN)
        script.chmod(0o700)
        plugin = {"apiVersion": version, "command": "./plugin", "args": ["get-token", "--quiet"], **more}
        self.kubeconfig = cluster.kubeconfig(folder, exec=plugin)

    def answers(self, token: str = "", *, lives: float | None = None, **status: str) -> None:
        if token:
            status["token"] = token
        if lives is not None:
            status["expirationTimestamp"] = (datetime.now(UTC) + timedelta(seconds=lives)).isoformat()
        document = {"apiVersion": self._version, "kind": "ExecCredential", "status": status}
        (self._folder / "answer").write_text(json.dumps(document))

    def runs(self) -> list[str]:
        return (self._folder / "runs").read_text().splitlines()


def test_a_token_file_is_read_again_after_a_refusal_and_without_its_newline(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    cluster.tokens = {"first"}

    def rotate(number: int) -> None:
        if number == 0:
            file.write_text("second\n")
            cluster.tokens = {"second"}

    call(cluster.kubeconfig(tmp_path, tokenFile="token"), times=2, between=rotate)
    assert cluster.authorizations == ["Bearer first", "Bearer first", "Bearer second"]


def test_a_token_file_is_read_again_when_it_is_old(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "FILE_SECONDS", 0.0)
    file = tmp_path / "token"
    file.write_text("first")
    call(
        cluster.kubeconfig(tmp_path, tokenFile=str(file)),
        times=2,
        between=lambda _: (file.write_text("second"), None)[1],
    )
    assert cluster.authorizations == ["Bearer first", "Bearer second"]


def test_a_refused_token_is_sent_once(cluster: FakeCluster, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    cluster.tokens = set()
    with pytest.raises(ApiError, match=r"^Unauthorized$"):
        call(cluster.kubeconfig(tmp_path, tokenFile="token"))
    assert cluster.authorizations == ["Bearer old"]


def test_a_missing_token_file_is_a_failure_that_may_pass(cluster: FakeCluster, tmp_path: Path) -> None:
    with pytest.raises(ApiError, match=r"getting credentials: the token file .* cannot be read") as caught:
        call(cluster.kubeconfig(tmp_path, tokenFile="gone"))
    assert caught.value.status == 0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    found = Authority()
    found.write(tmp_path / "authority.pem")
    return found


@pytest.fixture
def secure(authority: Authority, tmp_path: Path) -> Iterator[FakeCluster]:
    """A cluster that asks for client certificates."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "authority.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(*write_pair(tmp_path, authority.issue("localhost")))
    with fake_cluster(tls) as found:
        found.authority = "authority.pem"
        # The certificate has names only.
        found.address = found.address.replace("127.0.0.1", "localhost")
        yield found


class TestClientCertificates:
    def test_they_are_read_again_when_their_files_change(
        self, secure: FakeCluster, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(credentials, "FILE_SECONDS", 0.0)
        pairs = [authority.issue(name, client=True) for name in ("first", "second")]
        write_pair(tmp_path, pairs[0], "client")

        def change(number: int) -> None:
            if number == 1:
                # The key does not belong to the certificate yet: the pair before is used.
                (tmp_path / "client.pem").write_bytes(pairs[1][0])
            if number == 2:
                write_pair(tmp_path, pairs[1], "client")

        user = {"client-certificate": "client.pem", "client-key": "client-key.pem"}
        call(secure.kubeconfig(tmp_path, **user), times=4, between=change)
        assert secure.callers == ["first", "first", "first", "second"]
        # The connection stays open while the certificate is the same.
        assert secure.connections == 2

    def test_they_are_read_again_after_a_refusal(
        self, secure: FakeCluster, authority: Authority, tmp_path: Path
    ) -> None:
        pairs = [authority.issue(name, client=True) for name in ("first", "second")]
        write_pair(tmp_path, pairs[0], "client")

        def change(number: int) -> None:
            write_pair(tmp_path, pairs[1], "client")
            secure.fault = lambda method, path: (
                failure(401, "Unauthorized", "expired") if secure.callers[-1] == "first" else None
            )

        user = {"client-certificate": "client.pem", "client-key": "client-key.pem"}
        call(secure.kubeconfig(tmp_path, **user), times=2, between=change)
        assert secure.callers == ["first", "first", "second"]

    def test_an_authority_that_is_not_known_is_refused(self, secure: FakeCluster, tmp_path: Path) -> None:
        Authority("another").write(tmp_path / "authority.pem")
        with pytest.raises(ApiError, match=r"tls: .*certificate verify failed"):
            call(secure.kubeconfig(tmp_path))


@pytest.mark.parametrize(
    ("address", "options", "found"),
    [
        ("10.0.0.1:8080", {}, "http://10.0.0.1:8080"),
        ("10.0.0.1:8443/", {"insecure-skip-tls-verify": True}, "https://10.0.0.1:8443"),
        ("https://rancher/k8s/clusters/c-1/", {}, "https://rancher/k8s/clusters/c-1"),
    ],
)
def test_addresses(cluster: FakeCluster, tmp_path: Path, address: str, options: dict[str, Any], found: str) -> None:
    file = Path(cluster.kubeconfig(tmp_path))
    document = json.loads(file.read_text())
    document["clusters"][0]["cluster"] = {"server": address, **options}
    file.write_text(json.dumps(document))
    assert of_file(str(file), master="").address == found
    with pytest.raises(BadSetting, match=r"cannot be used: 'ftp://x' is no address of http or https"):
        of_file(str(file), master="ftp://x")


def test_a_token_with_a_line_break_is_refused(cluster: FakeCluster, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a\nX-Header: b")
    with pytest.raises(ApiError, match="getting credentials: the bearer token has a line break"):
        call(cluster.kubeconfig(tmp_path, tokenFile="token"))
    with pytest.raises(BadSetting, match="the bearer token has a line break"):
        of_file(cluster.kubeconfig(tmp_path, token="a\rb"), master="")


def test_a_name_and_a_password(cluster: FakeCluster, tmp_path: Path) -> None:
    call(cluster.kubeconfig(tmp_path, username="u", password="é"))
    assert cluster.authorizations == ["Basic dTrDqQ=="]


@pytest.mark.slow
@pytest.mark.smoke
class TestExecPlugins:
    @pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
    def test_a_token_is_kept_until_it_expires(self, cluster: FakeCluster, tmp_path: Path, version: str) -> None:
        more = {
            "env": [{"name": "COLOUR", "value": "red"}],
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": True,
        }
        plugin = Plugin(cluster, tmp_path, f"client.authentication.k8s.io/{version}", **more)
        plugin.answers("a", lives=3600)
        call(plugin.kubeconfig, times=3)
        assert cluster.authorizations == ["Bearer a"] * 3
        (run,) = plugin.runs()
        info, arguments, colour = run.split("|")
        assert (arguments, colour) == ("get-token --quiet", "red")
        spec = {"interactive": False, "cluster": {"server": cluster.address}}
        assert json.loads(info) == {
            "apiVersion": f"client.authentication.k8s.io/{version}",
            "kind": "ExecCredential",
            "spec": spec,
        }

    def test_an_expired_token_is_renewed(self, cluster: FakeCluster, tmp_path: Path) -> None:
        plugin = Plugin(cluster, tmp_path)
        plugin.answers("a", lives=1)
        call(plugin.kubeconfig, times=2, between=lambda _: plugin.answers("b", lives=3600))
        assert cluster.authorizations == ["Bearer a", "Bearer b"]

    def test_a_refused_token_is_renewed_once_for_all_calls(
        self, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(credentials, "PLUGIN_PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(credentials.ExecPlugin, "pause_seconds", 0.0)
        plugin = Plugin(cluster, tmp_path)
        plugin.answers("a")
        cluster.tokens = {"b"}
        (tmp_path / "plugin").write_text(PLUGIN + 'sed -i s/\\"a\\"/\\"b\\"/ answer\n')
        call(plugin.kubeconfig, times=8, at_once=True)
        assert cluster.authorizations.count("Bearer b") == 8
        assert len(plugin.runs()) == 2

    def test_a_plugin_does_not_run_again_for_each_refusal(self, cluster: FakeCluster, tmp_path: Path) -> None:
        plugin = Plugin(cluster, tmp_path)
        plugin.answers("a")
        cluster.tokens = set()
        with pytest.raises(ApiError, match="Unauthorized"):
            call(plugin.kubeconfig, times=5)
        assert len(plugin.runs()) == 1

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("echo no network >&2; exit 3", "ended with code 3: no network"),
            ("echo {}", "printed no ExecCredential"),
            ('echo \'{"apiVersion": "x", "status": {"token": "t"}}\'', "printed another apiVersion"),
            ("sleep 20", "took longer than 0.2 s"),
        ],
    )
    def test_failures_say_why(
        self, cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
    ) -> None:
        monkeypatch.setattr(credentials, "PLUGIN_SECONDS_MAX", 0.2)
        plugin = Plugin(cluster, tmp_path)
        (tmp_path / "plugin").write_text(f"#!/bin/sh\n{script}\n")
        with pytest.raises(ApiError, match=f"getting credentials: the exec plugin .*/plugin {message}"):
            call(plugin.kubeconfig)

    def test_a_command_that_is_missing(self, cluster: FakeCluster, tmp_path: Path) -> None:
        plugin = Plugin(cluster, tmp_path, command="no-such-command")
        with pytest.raises(ApiError, match="the exec plugin no-such-command cannot be started"):
            call(plugin.kubeconfig)

    def test_a_client_certificate_of_a_plugin_is_loaded(self, cluster: FakeCluster, tmp_path: Path) -> None:
        key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-subj", "/CN=us", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)
        plugin = Plugin(cluster, tmp_path)
        plugin.answers(clientCertificateData=certificate.read_text(), clientKeyData=key.read_text())
        call(plugin.kubeconfig)
        plugin.answers(clientCertificateData="no certificate", clientKeyData=key.read_text())
        with pytest.raises(ApiError, match="printed a bad certificate"):
            call(plugin.kubeconfig)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v9", "command": "x"}}, "allowed are client.auth"),
        ({"exec": {"apiVersion": V1, "command": "x", "interactiveMode": "Always"}}, "asks for a terminal"),
        ({"exec": {"apiVersion": V1, "command": ""}}, "has no command"),
        ({"auth-provider": {"name": "gcp"}}, "auth-provider is not supported"),
        ({"as": "somebody"}, "as is not supported"),
        ({"client-certificate": "gone.pem", "client-key": "gone.key"}, "cannot be used"),
    ],
)
def test_users_of_kubeconfig_files_that_cannot_be_served(
    cluster: FakeCluster, tmp_path: Path, user: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadSetting, match=message):
        of_file(cluster.kubeconfig(tmp_path, **user), master="")


@pytest.mark.parametrize("content", ["", "- a", "{", "clusters: []\ncontexts: []\ncurrent-context: x"])
def test_kubeconfig_files_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(content)
    with pytest.raises(BadSetting, match=r"server\.kube-config: .* cannot be used: "):
        of_file(str(file), master="")
