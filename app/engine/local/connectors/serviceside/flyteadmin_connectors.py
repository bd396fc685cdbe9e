"""Serve flytekit's connectors on a free port of the loopback interface.

The server starts this program with one line of JSON on standard input: {"token", "modules", "distribution",
"secrets"}. Secrets become variables here, because other processes can read the variables that a program starts with. It
writes one line to the descriptor in FLYTEADMIN_CONNECTORS_PORT: {"port": 1234} or {"error": "…"}. Every call needs the
token as `authorization: Bearer`. The program ends when standard input is closed, so it does not survive its server.
flytekit's own command (`pyflyte serve connector`) listens on all interfaces, without a token.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

_THREADS = 10


class TokenCheck(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses calls without the token."""

    def __init__(self, token: str) -> None:
        self._wanted = f"Bearer {token}"

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Return the handler of a call, or one that refuses it."""
        given = next((value for key, value in details.invocation_metadata if key == "authorization"), "")
        if hmac.compare_digest(str(given), self._wanted):
            return await continuation(details)
        return _refusing()


def _refusing() -> Any:
    async def refuse(_: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "this service belongs to a server of flyteadmin")

    return grpc.unary_unary_rpc_method_handler(refuse)


def _reply(message: dict[str, Any]) -> None:
    with os.fdopen(int(os.environ["FLYTEADMIN_CONNECTORS_PORT"]), "w") as pipe:
        pipe.write(json.dumps(message) + "\n")


def _load(given: dict[str, Any]) -> None:
    """Unpack the code of a fast registration into the working directory, and import modules with connectors."""
    sys.path.insert(0, os.getcwd())
    if given["distribution"]:
        from flytekit.tools.fast_registration import download_distribution  # type: ignore[import-not-found]

        download_distribution(given["distribution"], os.getcwd())
    for module in given["modules"]:
        importlib.import_module(module)


async def _serve(token: str) -> None:
    from flyteidl.service import agent_pb2_grpc
    from flytekit.extend.backend import connector_service as flytekit_service  # type: ignore[import-not-found]

    server = grpc.aio.server(ThreadPoolExecutor(max_workers=_THREADS), interceptors=(TokenCheck(token),))
    agent_pb2_grpc.add_AsyncAgentServiceServicer_to_server(flytekit_service.AsyncConnectorService(), server)
    agent_pb2_grpc.add_SyncAgentServiceServicer_to_server(flytekit_service.SyncConnectorService(), server)
    agent_pb2_grpc.add_AgentMetadataServiceServicer_to_server(flytekit_service.ConnectorMetadataService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _reply({"port": port})
    # Standard input ends with the server that started this program.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


def main() -> None:
    """Serve until standard input ends. Report an error of the start, and exit with code 1."""
    given = json.loads(sys.stdin.readline())
    os.environ.update(given["secrets"])
    try:
        _load(given)
        importlib.import_module("flytekit.extend.backend.connector_service")
        importlib.import_module("flytekit.extras.webhook")
    except ImportError as error:
        kind = "missing" if error.name in ("prometheus_client", "httpx", "grpc", "flytekit") else "error"
        _reply({"error": f"{type(error).__name__}: {error}", "kind": kind})
        raise SystemExit(1) from error
    except Exception as error:
        _reply({"error": f"{type(error).__name__}: {error}", "kind": "error"})
        raise
    asyncio.run(_serve(given["token"]))


if __name__ == "__main__":
    main()
