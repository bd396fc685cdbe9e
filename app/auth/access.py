"""The table of what an anonymous caller may use where authentication is on. Everything else needs an identity.

tests/test_access.py walks all RPCs and all routes and fails for one that answers an anonymous caller and is not listed.

Source: the interceptors and handlers of flyteadmin/pkg/server/service.go.
"""

from __future__ import annotations

# Clients call these before they have a token.
OPEN_RPCS = frozenset({"GetOAuth2Metadata", "GetPublicClientConfig"})
