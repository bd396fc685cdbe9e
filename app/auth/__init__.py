"""Authentication and authorization: who calls, and what the caller may do.

    identity        who calls
    credentials     the parts of a request that prove an identity
    authentication  credentials -> identity; app/runtime/dispatch.py calls it for every RPC
    access          the table of RPCs and pages that an anonymous caller may use

Upstream: flyteadmin/auth at v1.16.8.
"""
