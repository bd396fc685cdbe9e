"""A Kubernetes API server for tests: etcd and kube-apiserver on loopback, without nodes.

etcd is a package of Debian (`etcd-server`). `make test-kubernetes` builds kube-apiserver, which apiserver/go.mod pins,
into .cache/kubernetes; FLYTEADMIN_TEST_KUBERNETES names another folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.support.certificates import Authority

ROOT = Path(__file__).parents[2]
# Tokens of an administrator and of a user without rights.
TOKEN, USER_TOKEN = "admin-token", "user-token"
START_SECONDS_MAX = 120
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAME = "kube-apiserver"


def programs() -> tuple[str, Path]:
    """Return the paths of etcd and kube-apiserver; skip the test where one is missing."""
    folder = Path(os.environ.get("FLYTEADMIN_TEST_KUBERNETES", ROOT / ".cache" / "kubernetes"))
    etcd, server = shutil.which("etcd"), folder / NAME
    if etcd is None or not server.is_file():
        pytest.skip(f"needs etcd (Debian: etcd-server) and {server} (make test-kubernetes builds it where Go is)")
    return etcd, server


class ControlPlane:
    """etcd and kube-apiserver in a folder, on ports of their own. RBAC decides who may do what."""

    def __init__(self, folder: Path) -> None:
        self._etcd_program, self._server_program = programs()
        self._folder = folder
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._etcd_port, peer, self.port = (_free_port() for _ in range(3))
        self._peer = f"http://127.0.0.1:{peer}"
        self.address = f"https://127.0.0.1:{self.port}"
        self.authority = folder / "certificates" / "apiserver.crt"
        # Issues certificates of callers.
        self.clients = Authority("clients")

    def start(self) -> None:
        """Start etcd and the API server, and add the kind FlyteWorkflow."""
        self._folder.mkdir(parents=True, exist_ok=True)
        client = f"http://127.0.0.1:{self._etcd_port}"
        command = [self._etcd_program, "--data-dir", str(self._folder / "etcd"), "--unsafe-no-fsync"]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--listen-peer-urls", self._peer, "--initial-advertise-peer-urls", self._peer]
        command += ["--initial-cluster", f"default={self._peer}"]
        self._etcd = self._run(command, "etcd.log")
        key = self._folder / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        public = ["openssl", "rsa", "-in", str(key), "-pubout", "-out", str(self._folder / "sa.pub")]
        subprocess.run(public, check=True, capture_output=True)
        (self._folder / "tokens.csv").write_text(
            f'{TOKEN},admin,admin,"system:masters"\nuser-token,user,user,"users"\n'
        )
        self.clients.write(self._folder / "clients.pem")
        self.start_server()
        self.apply(ROOT / "deploy" / "kubernetes" / "flyteworkflow-crd.yaml")
        # The kind is served a moment later.
        self._until(lambda: self.call("GET", "/apis/flyte.lyft.com/v1alpha1/flyteworkflows")[0] == 200)

    def start_server(self) -> None:
        """Start the API server, and wait until it is ready."""
        folder = self._folder
        command = [str(self._server_program), f"--etcd-servers=http://127.0.0.1:{self._etcd_port}"]
        command += ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self.port}"]
        command += [f"--cert-dir={folder / 'certificates'}", f"--token-auth-file={folder / 'tokens.csv'}"]
        command += ["--service-account-issuer=https://kubernetes", "--endpoint-reconciler-type=none"]
        command += [f"--service-account-key-file={folder / 'sa.pub'}"]
        command += [f"--service-account-signing-key-file={folder / 'sa.key'}", "--authorization-mode=RBAC"]
        command += [f"--client-ca-file={folder / 'clients.pem'}"]
        self._server = self._run(command, "apiserver.log")
        self._until(lambda: self.call("GET", "/readyz")[0] == 200)

    def stop_server(self) -> None:
        """End the API server at once."""
        _end(self._server)

    def stop(self) -> None:
        """End both."""
        _end(self._server)
        _end(self._etcd)

    def kubeconfig(self, token: str = TOKEN, *, name: str = "", **user: Any) -> str:
        """Write a kubeconfig file and return its path. name, user: of the file, and its user in place of a token."""
        path = self._folder / f"kubeconfig-{name or token[:32]}"
        cluster = {"server": self.address, "certificate-authority": str(self.authority)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user or {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        }
        path.write_text(json.dumps(document))
        return str(path)

    def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> tuple[int, dict[str, Any]]:
        """Send one request as the administrator; status 0 where the server cannot be reached."""
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": content_type}
        content = json.dumps(body) if body is not None else None
        try:
            # The certificate is the server's own, and the address is loopback.
            answer = httpx2.request(
                method, self.address + path, headers=headers, content=content, verify=False, timeout=30
            )
        except httpx2.HTTPError as error:
            return 0, {"message": str(error)}
        try:
            return answer.status_code, answer.json()
        except ValueError:
            return answer.status_code, {"message": answer.text}

    def apply(self, file: Path) -> list[dict[str, Any]]:
        """Apply the documents of a file and return the objects."""
        return [self.apply_document(document) for document in yaml.safe_load_all(file.read_text()) if document]

    def apply_document(self, document: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Apply one document by a server-side apply."""
        version, metadata = document["apiVersion"], document["metadata"]
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        _, kinds = self.call("GET", path)
        kind = next(one for one in kinds["resources"] if one["kind"] == document["kind"] and "/" not in one["name"])
        if kind["namespaced"]:
            path += f"/namespaces/{metadata.get('namespace', 'default')}"
        path += f"/{kind['name']}/{metadata['name']}?fieldManager=tests&force=true"
        path += "&dryRun=All&fieldValidation=Strict" if dry_run else ""
        status, found = self.call("PATCH", path, document, content_type="application/apply-patch+yaml")
        assert status in (200, 201), found
        return found

    def namespace(self, name: str) -> None:
        """Create a namespace."""
        status, found = self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert status in (201, 409), found

    def delete_namespace(self, name: str) -> None:
        """Begin to delete a namespace. Without kube-controller-manager it is being deleted until `remove_namespace`."""
        status, found = self.call("DELETE", f"/api/v1/namespaces/{name}")
        assert status == 200, found

    def remove_namespace(self, name: str) -> None:
        """Let a namespace go that is being deleted."""
        path = f"/api/v1/namespaces/{name}"
        status, found = self.call("PUT", f"{path}/finalize", {"metadata": {"name": name}, "spec": {"finalizers": []}})
        assert status == 200, found

    def workflows(self, namespace: str) -> list[dict[str, Any]]:
        """Return the FlyteWorkflows of a namespace."""
        status, found = self.call("GET", f"/apis/flyte.lyft.com/v1alpha1/namespaces/{namespace}/flyteworkflows")
        assert status == 200, found
        items: list[dict[str, Any]] = found["items"]
        return items

    def _run(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self._folder / log).open("ab") as file:
            return subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)

    def _until(self, holds: Any) -> None:
        end = time.monotonic() + START_SECONDS_MAX
        while not holds():
            for process, log in ((self._etcd, "etcd.log"), (self._server, "apiserver.log")):
                if process is not None and process.poll() is not None:
                    raise AssertionError((self._folder / log).read_text()[-3000:])
            assert time.monotonic() < end, (self._folder / "apiserver.log").read_text()[-3000:]
            time.sleep(0.2)


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Run a control plane in a folder."""
    plane = ControlPlane(folder)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
