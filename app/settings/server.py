"""Section `server`: addresses, protocols, limits of transports, which web pages and hosts are served.

Source: flyteadmin/pkg/config at v1.16.8.
"""

from typing import Literal

from pydantic import Field

from app.settings.hosts import HostName, Network, WebOrigin
from app.settings.values import Port, Seconds, Section


class Ssl(Section):
    """TLS of REST, gRPC, MCP and the REST adapter (docs/tls.md)."""

    certificate_file: str = ""
    """Path of the certificate chain, PEM, the server's own certificate first. A DNS name in it, without `*`, is
    accepted in the header Host."""

    key_file: str = ""
    """Path of the private key, PEM without a passphrase."""

    local_authority: bool = False
    """Make a certificate authority and a certificate of this machine in `tls` below the home folder, and use them in
    place of `certificateFile` and `keyFile`; as `flyteadmin serve --tls`. Not upstream's."""

    client_ca_file: str = ""
    """Path of the authorities, PEM, that sign certificates of clients. Empty: clients are not asked for a certificate.
    Not upstream's."""

    client_certificates: Literal["required", "optional"] = "required"
    """With `clientCaFile`: `required` refuses clients without a certificate, `optional` checks those that are sent.
    A certificate opens the connection; it signs nobody in. Not upstream's."""

    min_version: Literal["1.2", "1.3"] = "1.2"
    """Lowest version of TLS. Not upstream's."""

    handshake_timeout_seconds: Seconds = Field(default=10.0, gt=0)
    """Time for a client to complete the handshake, as a duration, before its connection is closed. Not upstream's."""

    reload_seconds: Seconds = 30.0
    """Time between two looks at the files, as a duration; changed files serve new connections. 0 reloads only on
    SIGHUP. Not upstream's."""

    expiry_warning_days: int = Field(default=21, ge=0)
    """A certificate that expires within this number of days is named in the log, once a day. Not upstream's."""


class Security(Section):
    """Which requests are served (app/api/http/origins.py)."""

    secure: bool = False
    """Serve TLS on the ports of REST, gRPC, MCP and the REST adapter. The port of the metrics has no TLS."""

    ssl: Ssl = Ssl()

    hsts_max_age_seconds: int = Field(default=0, ge=0)
    """Send `Strict-Transport-Security` with this age, in seconds, over TLS: browsers then use https for this name on
    every port. 0 sends no such header. Not upstream's."""

    use_auth: bool = False
    """Require a token or a session from every caller (section `auth`)."""

    insecure_cookie_header: bool = False
    """Send sign-in cookies without the attribute Secure."""

    allow_cors: bool = True
    """Answer CORS requests of the pages in `allowedOrigins`."""

    # Deviates: upstream's default is "*", with which any page can run commands through the local engine.
    allowed_origins: tuple[WebOrigin, ...] = ()
    """Origins of web pages that may call this server, as `scheme://host[:port]`; `*` allows every page."""

    allowed_hosts: tuple[HostName, ...] = ()
    """Names in the header Host that are served beside localhost and IP addresses; `*` allows every name. Not
    upstream's."""

    allowed_headers: tuple[str, ...] = ("Content-Type", "flyte-authorization")
    """Request headers that CORS allows to pages of other origins."""


class Grpc(Section):
    """gRPC."""

    port: Port = 30081
    """Port that serves gRPC alone; `server.httpPort` serves gRPC too. 0 picks a free port."""

    server_reflection: bool = True
    """Serve gRPC server reflection, by which grpcurl and similar clients list the methods."""

    max_message_size_bytes: int = Field(default=0, ge=0)
    """Largest request message over any protocol, in bytes; 0 means 4 MiB."""

    enable_grpc_latency_metrics: bool = False
    """Export latency histograms for each gRPC method."""

    max_concurrent_streams: int = Field(default=0, ge=0)
    """Largest number of open streams on one HTTP/2 connection; 0 means no limit."""


class Upload(Section):
    """Signed addresses for uploads."""

    max_expires_in_seconds: Seconds = 3600.0
    """Longest validity of an upload address, as a duration."""

    default_file_name_length: int = Field(default=20, ge=1, le=255)
    """Length of a generated file name, in characters, where an upload request has none."""

    storage_prefix: str = ""
    """Path below the storage under which uploads are stored."""


class Download(Section):
    """Signed addresses for downloads."""

    max_expires_in_seconds: Seconds = 3600.0
    """Longest validity of a download address, as a duration."""


class DataProxy(Section):
    """The data proxy service."""

    upload: Upload = Upload()
    download: Download = Download()


class KubeClient(Section):
    """Limits of a Kubernetes client."""

    qps: int = Field(default=100, ge=0)
    """Requests a second."""

    burst: int = Field(default=25, ge=0)
    """Requests that may exceed the rate at once."""

    timeout_seconds: Seconds = 30.0
    """Timeout of one request, as a duration."""


class ServerSection(Section):
    """Addresses, protocols and limits of the server."""

    host: str = "127.0.0.1"
    """Address to listen on. Not upstream's."""

    public_url: str = ""
    """Address of this server as clients write it (`scheme://host[:port]`), for signed addresses where a request does
    not carry it. Empty: `http://localhost` with the port, `https` over TLS. Not upstream's."""

    workers: int = Field(default=1, ge=1, le=256)
    """Number of server processes. Not upstream's."""

    http: Literal["zttp", "httptools"] = "zttp"
    """Protocol library. `zttp` serves HTTP/1.1, HTTP/2 and gRPC on one port; `httptools` serves HTTP/1.1 there and
    gRPC by grpcio on `server.grpc.port`. Not upstream's."""

    http_port: Port = 30080
    """Port of REST, gRPC and the documentation. 0 picks a free port."""

    grpc: Grpc = Grpc()
    security: Security = Security()
    data_proxy: DataProxy = DataProxy()

    kube_config: str = ""
    """Path of a kubeconfig file."""

    master: str = ""
    """Address of the Kubernetes API server."""

    kube_client_config: KubeClient = KubeClient()

    read_header_timeout_seconds: int = Field(default=32, ge=1)
    """Time for a client to send the headers of a request, in seconds, before its connection is closed."""

    graceful_shutdown_timeout_seconds: int = Field(default=10, ge=0)
    """Time for running requests to end after SIGTERM, in seconds."""

    drain_seconds: float = Field(default=3.0, ge=0)
    """Time after SIGTERM, in seconds, during which the server reports that it is not ready, still answers, and asks
    each client to leave: `Connection: close` over HTTP/1.1, GOAWAY over HTTP/2. Then running requests get
    `gracefulShutdownTimeoutSeconds`. 0 stops at once. SIGINT does not wait. Not upstream's."""

    readiness_timeout_seconds: float = Field(default=2.0, gt=0)
    """Time for the database, and for the storage, to answer before `/healthz/ready` and the gRPC health service report
    that the server is not ready, in seconds. Not upstream's."""

    trusted_proxies: tuple[Network, ...] = ()
    """Networks and addresses of proxies, such as `10.0.0.0/8`. The caller's address, scheme and host are taken from
    `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` of their requests; from nobody else's. The proxy must
    set or remove all three: a web page can send them too, and its own choice of a host would pass the check of hosts.
    Not upstream's."""
