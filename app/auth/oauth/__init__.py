"""The authorization server of this process, for `auth.appAuth.authServerType: Self`.

    errors       the errors of RFC 6749
    parameters   parameters of a request, and the credentials of a client
    clients      OAuth clients: of the settings, and of the table auth_clients
    grants       authorization codes, refresh tokens and device codes, in the table auth_grants
    tokens       access tokens that are issued, and refresh tokens that upstream issued
    limits       limits of attempts in a minute
    server       the requests of /oauth2/authorize and /oauth2/token
    devices      the device flow of RFC 8628
    personal     personal tokens, and the clients and tokens that commands make
    revocations  access tokens of clients that were revoked
    build        composes all of these

Codes and refresh tokens are random texts of which the database has the hash, so that each is used once, whichever
worker process serves the request. Access tokens are JWTs, which every process verifies by itself.

Source: flyteadmin/auth/authzserver at v1.16.8, and fosite v0.42, which upstream uses.
"""
