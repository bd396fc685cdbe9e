"""The table of what answers an anonymous caller where authentication is on. Everything else needs an identity.

`app.runtime.dispatch` applies it to RPCs, app/api/pages/guard.py to pages. A page without a row needs an identity.
tests/test_access.py walks all RPCs and all routes and fails for one that answers an anonymous caller and is not listed.

Source: the interceptors and handlers of flyteadmin/pkg/server/service.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# Clients call these before they have a token.
OPEN_RPCS = frozenset({"GetOAuth2Metadata", "GetPublicClientConfig"})

# Methods of gRPC's own services. Health/Check is open only with `auth.openHealthCheck`.
OPEN_STREAMS = frozenset(
    {
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may use a page.

    Attributes:
        needs: `nothing`; `signature` for a page that checks the signature in its address; `identity` for a page that
            needs a token or session; `loopback` for a page that only clients on this machine get.
        reason: Why that is enough.
    """

    needs: Literal["nothing", "signature", "identity", "loopback"]
    reason: str


IDENTITY = Rule("identity", "a page without a row in the table")
_PROBE = Rule("nothing", "orchestrators probe it without a token, and it says only which part of the server fails")
_DESCRIPTION = Rule("nothing", "it describes the API of this version, and nothing of this installation")
_SIGN_IN = Rule(
    "nothing", "people come here to sign in or out; the page checks the sign-in's cookie and the provider's answer"
)
_CONSOLE = Rule(
    "nothing", "the files of the console, equal for everybody; the API that its script calls checks the caller"
)

# By the path of the route, as `app.routes` has it.
PAGES: Mapping[str, Rule] = {
    # Parity: upstream's /healthcheck. app/api/rest/router.py answers it.
    "/healthcheck": _PROBE,
    "/healthz/live": _PROBE,
    "/healthz/ready": _PROBE,
    "/api/v1/openapi": _DESCRIPTION,
    "/openapi.json": _DESCRIPTION,
    "/openapi-own.json": _DESCRIPTION,
    "/docs": _DESCRIPTION,
    "/docs/assets": Rule("nothing", "the files of Swagger UI"),
    "/oauth2/authorize": Rule("nothing", "it sends the browser to the sign-in"),
    "/oauth2/authorize_callback": Rule("nothing", "it asks for a browser session by itself"),
    "/oauth2/token": Rule("nothing", "it authenticates the client and the grant by itself"),
    "/oauth2/jwks": Rule("nothing", "it has public keys only"),
    "/oauth2/device_authorization": Rule("nothing", "it authenticates the client by itself"),
    "/oauth2/device": Rule("nothing", "it sends the browser to the sign-in"),
    "/login": _SIGN_IN,
    "/callback": _SIGN_IN,
    "/logout": _SIGN_IN,
    "/.well-known/openid-configuration": Rule("nothing", "it redirects to the provider's own public document"),
    "/": _CONSOLE,
    "/console": _CONSOLE,
    "/console/assets/{name:path}": _CONSOLE,
    "/console/{path:path}": _CONSOLE,
    "/projects/{path:path}": _CONSOLE,
    "/storage/{key:path}": Rule("signature", "the signature in the address is made for one object, and expires"),
    "/logs/{project}/{domain}/{execution}/{node:path}/{attempt}": Rule("identity", "logs hold what tasks print"),
    "/api/v1/roles": Rule("identity", "administrators manage roles there"),
    "/api/v1/roles/mine": Rule("identity", "it names the places in which the caller has roles"),
    "/api/v1/schedules/{project}/{domain}": Rule("identity", "it names launch plans and their executions"),
    "/api/v1/cached_outputs/{project}/{domain}": Rule("identity", "it names tasks and executions"),
    "/api/v1/environments": Rule("identity", "it names images and packages"),
    "/api/v1/environments/{id}/log": Rule("identity", "it has the output of installers"),
    "/api/v1/status": Rule("identity", "it names folders, databases and the last error"),
    "/api/v1/connectors": Rule("identity", "it names services inside the network"),
    "/api/v1/notifications": Rule("identity", "it names mail servers and topics that do not answer"),
    "/api/v1/notifications/test": Rule("identity", "administrators send test messages there"),
    "/api/v1/notifications/{project}/{domain}": Rule("identity", "it names executions and recipients"),
}

# The pages of the metrics listener, on a port of its own that is not for users.
METRICS_PAGES: Mapping[str, Rule] = {
    "/metrics": Rule("nothing", "Prometheus has no token, and the numbers name no project and no user"),
    "/healthcheck": _PROBE,
    "/version": Rule("nothing", "the version of this program"),
    "/config": Rule("loopback", "secrets are masked, but names of hosts, buckets and clients are not"),
}


def rule_of(path: str) -> Rule:
    """Return the rule of a page by the path of its route."""
    return PAGES.get(path, IDENTITY)
