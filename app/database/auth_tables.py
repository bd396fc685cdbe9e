"""The tables of authentication: all of our own, ignored by upstream (alembic/versions/0010)."""

from datetime import datetime

from sqlalchemy import Column, LargeBinary
from sqlmodel import Field

from app.database.schema import Base, UtcTime, text_column


class AuthSession(Base, table=True):
    """The session of a person who signed in with a browser (app/auth/sessions.py).

    Attributes:
        session_id: SHA-256 of the cookie's value, in hex: the table alone opens no session.
        data: Tokens of the identity provider and the user's description, encrypted.
        used_at: The last refresh of the tokens.
        refreshing_until: While a process refreshes the tokens, the end of its lease; no other one may meanwhile.
        valid_until: The end of the session, whatever its tokens allow.
    """

    __tablename__ = "auth_sessions"
    session_id: str = text_column(key=True)
    subject: str = text_column(nullable=False)
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    used_at: datetime | None = Field(sa_type=UtcTime)
    refreshing_until: datetime | None = Field(sa_type=UtcTime)
    valid_until: datetime | None = Field(sa_type=UtcTime)


class AuthGrant(Base, table=True):
    """Authorization codes, refresh tokens and device codes of the own authorization server.

    Attributes:
        grant_id: SHA-256 of the code or token, in hex.
        kind: code, refresh or device.
        family: The sign-in from which the grant comes; a reused grant revokes its whole family.
        user_code: The code that the user of a device types.
        status: active, spent or revoked for a refresh token; pending, approved or denied for a device code.
        data: The request and the identity, as JSON.
        used_at: When the grant was redeemed; None before.
    """

    __tablename__ = "auth_grants"
    grant_id: str = text_column(key=True)
    kind: str = text_column(nullable=False)
    family: str = text_column(nullable=False)
    client_id: str = text_column(nullable=False)
    subject: str | None = text_column()
    user_code: str | None = text_column()
    status: str | None = text_column()
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    used_at: datetime | None = Field(sa_type=UtcTime)
    valid_until: datetime | None = Field(sa_type=UtcTime)


class AuthClient(Base, table=True):
    """OAuth clients and personal tokens that were made by command (app/auth/oauth/clients.py).

    Attributes:
        name: The id of the client, or of the personal token.
        kind: client or personal.
        subject: The user on whose behalf a personal token acts; the name of the client itself otherwise.
        secret_hash: bcrypt hash of a client's secret; SHA-256 of a personal token's secret, in hex.
        scopes: Separated by blanks.
    """

    __tablename__ = "auth_clients"
    name: str = text_column(key=True)
    kind: str = text_column(nullable=False)
    subject: str = text_column(nullable=False)
    secret_hash: str = text_column(nullable=False)
    scopes: str = text_column(nullable=False)
    description: str | None = text_column()
    created_by: str | None = text_column()
    used_at: datetime | None = Field(sa_type=UtcTime)
    revoked_at: datetime | None = Field(sa_type=UtcTime)
    valid_until: datetime | None = Field(sa_type=UtcTime)


class AuthRole(Base, table=True):
    """A role of a subject, or of a claim's value, in projects and domains (app/auth/roles.py).

    Attributes:
        role: view, run, register or admin.
        project: A pattern; `*` for every project.
        domain: A pattern; `*` for every domain.
        member_kind: subject or claim.
        member: The user id or client id, or the value of the configured claim.
    """

    __tablename__ = "auth_roles"
    role: str = text_column(key=True)
    project: str = text_column(key=True)
    domain: str = text_column(key=True)
    member_kind: str = text_column(key=True)
    member: str = text_column(key=True)
    created_by: str | None = text_column()
