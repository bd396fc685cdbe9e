"""TLS of the listeners: contexts for handshakes, and reload of changed files without a restart.

`entry` is the context that listeners get. Its callback for the server name gives each handshake the newest context,
also where the client sends no name. So new connections get a new certificate, and existing connections live on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from app import limited_log
from app.server import certificates, local_authority
from app.server.certificates import KeyPair
from app.settings import BadSetting, Settings

if TYPE_CHECKING:
    import grpc

# Time for a client to answer the end of the encryption. Idle clients of Python read nothing, and never answer.
SHUTDOWN_SECONDS = 1.0
SECONDS_PER_DAY = 86_400.0
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# The ciphers of TLS 1.2 that RFC 9113 allows for HTTP/2. TLS 1.3 has its own list.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_HTTP_REQUEST = "HTTP_REQUEST"
_HINTS = {
    _HTTP_REQUEST: "a client sent HTTP without TLS: it must use https://, or a secure channel for gRPC",
    "WRONG_VERSION_NUMBER": "a client sent no TLS: it must use https://, or a secure channel for gRPC",
    "TLSV1_ALERT_UNKNOWN_CA": "a client does not trust the authority of this server's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "a client does not accept this server's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "a client does not accept this server's certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "a client sent no certificate; server.security.ssl.clientCaFile requires one",
    "CERTIFICATE_VERIFY_FAILED": "a client's certificate is not signed by server.security.ssl.clientCaFile",
    "UNSUPPORTED_PROTOCOL": "a client offers only versions below server.security.ssl.minVersion",
}

log = structlog.get_logger(__name__)


class LoggedHandshake(ssl.SSLObject):
    """Logs the reason of a failed handshake, which asyncio and uvloop drop."""

    def do_handshake(self) -> None:
        """Continue the handshake."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            _log_failure(error)
            raise

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read decrypted bytes. Over TLS 1.3 a client rejects the server's certificate only here."""
        try:
            return super().read(len) if buffer is None else super().read(len, buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLZeroReturnError, ssl.SSLEOFError):
            raise
        except ssl.SSLError as error:
            _log_failure(error)
            raise


def _log_failure(error: ssl.SSLError) -> None:
    reason = error.reason or str(error)
    limited_log.warning("tls_failed", key=reason, reason=reason.lower().replace("_", " "), hint=_HINTS.get(reason, ""))


class ServerTls:
    """The certificate of one process, and the contexts made of it.

    Args:
        settings: Settings with `server.security.secure`.
        protocols: The protocols of ALPN, the preferred one first.
        use_names: Receives the names of the certificate, now and after each reload.

    Raises:
        BadSetting: A file cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        protocols: tuple[str, ...],
        use_names: Callable[[frozenset[str]], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._ssl = settings.server.security.ssl
        self._protocols = protocols
        self._use_names = use_names
        self._signature = certificates.signature(self._ssl)
        self.pair, self._newest = self._load()
        self._warned_at = 0.0
        self.entry = self._newest
        self.entry.sni_callback = self._choose_context
        self._use_names(self.pair.host_names)

    def _choose_context(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def reload(self) -> None:
        """Read the files again. When one cannot be used, log the reason and keep the present certificate."""
        self._signature = certificates.signature(self._ssl)
        try:
            pair, context = self._load()
        except BadSetting as error:
            log.error("tls_certificate_not_reloaded", reason=str(error), kept_until=str(self.pair.expires_at))
            return
        if pair == self.pair:
            return
        self.pair, self._newest = pair, context
        self._use_names(pair.host_names)
        self._warned_at = 0.0
        log.info("tls_certificate_reloaded", names=", ".join(pair.names), expires_at=str(pair.expires_at))

    def reload_if_changed(self) -> None:
        """Call `reload` where a file was changed or replaced since the last call."""
        if certificates.signature(self._ssl) != self._signature:
            self.reload()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look at the files and at the expiry while the block runs."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        interval = self._ssl.reload_seconds
        while True:
            if not self._warned_at or loop.time() - self._warned_at >= SECONDS_PER_DAY:
                self._warned_at = loop.time()
                await asyncio.to_thread(self._renew)
                self._warn_of_expiry()
            await asyncio.sleep(min(interval or SECONDS_PER_DAY, SECONDS_PER_DAY))
            if interval:
                await asyncio.to_thread(self.reload_if_changed)

    def _renew(self) -> None:
        """Renew the certificate of a local authority where that is due."""
        if not self._ssl.local_authority:
            return
        try:
            local_authority.ensure(self._settings)
        except BadSetting as error:
            log.error("tls_certificate_not_renewed", reason=str(error))
        self.reload_if_changed()

    def _warn_of_expiry(self) -> None:
        days = self.pair.days_left(datetime.now(UTC))
        where = {"file": self._ssl.certificate_file, "expires_at": str(self.pair.expires_at)}
        if days <= 0:
            log.error("tls_certificate_expired", **where)
        elif days < self._ssl.expiry_warning_days:
            log.warning("tls_certificate_expires", days_left=round(days, 1), **where)

    def _load(self) -> tuple[KeyPair, ssl.SSLContext]:
        pair = certificates.read(self._ssl)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = LoggedHandshake
        context.minimum_version = _VERSIONS[self._ssl.min_version]
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols(list(self._protocols))
        try:
            context.load_cert_chain(self._ssl.certificate_file, self._ssl.key_file)
        except ssl.SSLError as error:
            raise BadSetting(
                f"server.security.ssl.certificateFile: OpenSSL refuses {self._ssl.certificate_file} ({error.reason})"
            ) from error
        except OSError as error:
            raise BadSetting(f"the files of server.security.ssl changed while they were read ({error})") from error
        if not certificates.unchanged(pair, self._ssl):
            raise BadSetting("the files of server.security.ssl changed while they were read")
        if pair.client_ca:
            context.load_verify_locations(cadata=pair.client_ca.decode("ascii", "ignore"))
            required = self._ssl.client_certificates == "required"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        return pair, context

    def grpcio_credentials(self) -> grpc.ServerCredentials:
        """Return credentials for grpcio's server, which asks for the newest certificate in each handshake.

        grpcio has no optional certificates of clients: with `optional` it asks for none.
        """
        import grpc

        given = self.pair

        def configuration() -> Any:
            pair = self.pair
            return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)], pair.client_ca or None)

        def fetch() -> Any:
            nonlocal given
            if self.pair is given:
                return None
            given = self.pair
            return configuration()

        required = bool(self.pair.client_ca) and self._ssl.client_certificates == "required"
        return grpc.dynamic_ssl_server_credentials(configuration(), fetch, require_client_authentication=required)
