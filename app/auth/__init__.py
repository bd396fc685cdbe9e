"""Authentication and authorization: who calls, and what the caller may do.

    identity        who calls
    credentials     the parts of a request that prove an identity
    authentication  credentials -> identity; app/runtime/dispatch.py calls it for every RPC
    access          the table of RPCs and pages that an anonymous caller may use
    secrets_store   the secrets of this server
    keys            the keys that sign and verify its own tokens
    jwts            the form, signature and standard claims of a token
    access_tokens   access token -> identity
    id_tokens       id token -> identity
    claims          the claims of a verified token -> identity
    verified        the tokens that were verified lately
    refusals        the refusal of a token, and its log line
    provider        documents of the OpenID provider and of an external authorization server
    remote_keys     the keys that such a server publishes
    remote_value    a fetched value, renewed from time to time
    provider_client bounded requests to such a server
    oauth           the own authorization server
    periodic        steps that are repeated in the background

Upstream: flyteadmin/auth at v1.16.8.
"""
