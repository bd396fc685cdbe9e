"""The whole settings tree: upstream's sections (upstream.py, outbound.py, auth.py) and, beside them, ours."""

import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

from pydantic import Field, SecretStr, field_validator

from app.settings import outbound, upstream
from app.settings.auth import Auth
from app.settings.hosts import HostName
from app.settings.plugins import Plugins
from app.settings.secrets import redact
from app.settings.values import Requirements, Section

# What object stores are addressed by: S3 and what speaks its protocol, Google Cloud Storage, Azure.
BUCKET_SCHEMES = ("s3", "gs", "az")


class BadSetting(Exception):
    """A setting cannot be used; the message is one line that names it and says what is allowed."""


# Who and where the user is, the language, certificates and proxies, graphics cards, and where flytekit finds secrets.
PASSED_VARIABLES = (
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LANGUAGE", "LC_*", "TZ"),
    *("SSL_CERT_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "*_proxy", "*_PROXY"),
    *("CUDA_*", "NVIDIA_*", "LD_LIBRARY_PATH", "FLYTE_SECRETS_*"),
)


class LocalEngine(Section):
    """environment: path of the virtual environment that tasks run in, "" for $FLYTEADMIN_HOME/envs/default, which is
    made with `requirements`. warm: start flytekit's commands from a process that has imported it already.

    processes_max 0 means one for each CPU. executions_max: executions that are held in memory at once; others wait in
    the database, but for children that a running one waits for. grace_seconds: time between asking a task to end and
    killing it.
    Of one attempt: log_bytes_max is kept of what it prints, printed_bytes_max ends it, task_processes_max processes
    at once end it, and so does holding free_bytes_min while less than that is free on the disk; 0 stands for no limit.
    passed_variables: patterns of names that tasks see of this server's environment; python_path: their PYTHONPATH.
    warm_tasks_max: tasks after which a warm process is replaced.
    array_size_max: indices of a map, which fails if it has more. All of them are held in memory and told in one message
    and one row, of some 170 bytes for each: 17 MB for 100,000. array_children_max: child executions of a map
    over a launch plan at a time, where the map itself allows as many. dynamic_depth_max: dynamic tasks inside one
    another; one that asks for more fails.
    sensors_max: sensors that wait at a time, beside the processes_max of other tasks; sensor_interval_seconds: between
    two pokes of one.
    Literals of a task's outputs from offloaded_literal_mbs_min MiB on are stored as objects of their own, 0 meaning
    half of storage.limits.maxDownloadMBs; up to offloaded_literal_mbs_max MiB, where 0 switches offloading off.
    deck_interval_seconds: time between two looks for the deck of a running task that says it makes one, until there is
    one; where the storage is a bucket, each takes one request, and the time doubles up to deck_interval_seconds_max.
    storage_wait_seconds_max: how long an execution waits for an object store that does not answer before it fails.
    Attempts that fail meanwhile for lack of the store cost no retry.
    """

    environment: str = ""
    requirements: Requirements = ("flytekit>=1.16.8,<1.17",)
    processes_max: int = Field(default=0, ge=0)
    executions_max: int = Field(default=1000, ge=1)
    grace_seconds: float = Field(default=30.0, ge=0)
    log_bytes_max: int = Field(default=10 * 1024 * 1024, ge=1024)
    printed_bytes_max: int = Field(default=1024**3, ge=0)
    free_bytes_min: int = Field(default=256 * 1024 * 1024, ge=0)
    task_processes_max: int = Field(default=1000, ge=0)
    warm: bool = True
    warm_tasks_max: int = Field(default=1000, ge=1)
    array_size_max: int = Field(default=100_000, ge=1)
    array_children_max: int = Field(default=100, ge=1)
    dynamic_depth_max: int = Field(default=50, ge=1)
    sensors_max: int = Field(default=100, ge=1)
    sensor_interval_seconds: float = Field(default=1.0, gt=0)
    offloaded_literal_mbs_min: int = Field(default=0, ge=0)
    offloaded_literal_mbs_max: int = Field(default=100, ge=0)
    deck_interval_seconds: float = Field(default=0.5, gt=0)
    deck_interval_seconds_max: float = Field(default=10.0, gt=0)
    storage_wait_seconds_max: float = Field(default=1800.0, ge=0)
    passed_variables: tuple[str, ...] = PASSED_VARIABLES
    python_path: str = ""


class EngineSection(Section):
    kind: Literal["local", "kubernetes", "none"] = "local"
    local: LocalEngine = LocalEngine()


class Limits(Section):
    """Ours. upload_bytes_max bounds one PUT to a signed address of the local store. What each process keeps in memory:
    kept_json_bytes_max of JSON that it has shown and of replies that never change, kept_closure_bytes_max of compiled
    workflows. list_rows_max: of a page, also where more is asked for; list_reply_bytes_max: of a page, which ends
    before it would be larger (flytekit takes 20 MiB); metrics_rows_max: nodes, and attempts, of an execution that
    metrics are of.

    json_values_max: values of one JSON body: scalars, objects and lists, however deep. An ordinary body of this many
    takes about a second of CPU to read, the worst three; a workflow of 10,000 nodes has 260,000.

    Of the filters of one list request: filters_characters_max in all, filters_max expressions joined with "+",
    filter_values_max values of all expressions together. SQL is compiled for each new shape of filters, for which 100
    expressions take about 30 ms.

    Replies that clients are slow to read, in each process: unsent_bytes_max of all of them together may wait before
    the slowest connections are ended, connection_unsent_bytes_max of one connection before it begins no further
    request. send_wait_seconds_max: a reader that takes less than 16 KiB in this time is ended.
    body_wait_seconds_max: for the whole body of a call, and for the next piece of an upload, whose body must come with
    upload_bytes_per_second_min on average besides."""

    body_wait_seconds_max: float = Field(default=30.0, gt=0)
    upload_bytes_max: int = Field(default=2 * 1024**3, ge=1)
    upload_bytes_per_second_min: int = Field(default=1024, ge=0)
    unsent_bytes_max: int = Field(default=128 * 1024**2, ge=1)
    connection_unsent_bytes_max: int = Field(default=4 * 1024**2, ge=1)
    send_wait_seconds_max: float = Field(default=60.0, gt=0)
    list_rows_max: int = Field(default=10_000, ge=1)
    filters_characters_max: int = Field(default=64 * 1024, ge=1)
    filters_max: int = Field(default=100, ge=1)
    filter_values_max: int = Field(default=1000, ge=1)
    list_reply_bytes_max: int = Field(default=16 * 1024**2, ge=1)
    json_values_max: int = Field(default=300_000, ge=1)
    metrics_rows_max: int = Field(default=50_000, ge=1)
    kept_json_bytes_max: int = Field(default=32 * 1024**2, ge=0)
    kept_closure_bytes_max: int = Field(default=16 * 1024**2, ge=0)
    database_wait_seconds_max: float = Field(default=10.0, gt=0)
    database_statement_seconds_max: float = Field(default=30.0, gt=0)


class Mcp(Section):
    """Ours: the tools of assistants on `port`, the REST adapter of the same capability on `adapter_port`.

    api_key: required as a bearer token on both where it is set. allowed_hosts: counts as
    server.security.allowed_hosts, on every port. call_seconds_max: of one call of a tool.
    list_rows and list_rows_max: rows of a page where a call does not say, and at most. result_bytes_max bounds a
    tool's result as JSON, log_bytes_max what is shown of an attempt's log, failed_nodes_max how many failed nodes are
    told in one answer.
    """

    enabled: bool = False
    port: int = Field(default=9090, ge=0, le=65535)
    adapter_port: int = Field(default=8080, ge=0, le=65535)
    api_key: SecretStr = SecretStr("")
    allowed_hosts: tuple[HostName, ...] = ()
    call_seconds_max: float = Field(default=60.0, gt=0)
    list_rows: int = Field(default=20, ge=1)
    list_rows_max: int = Field(default=100, ge=1)
    result_bytes_max: int = Field(default=100_000, ge=1_000)
    log_bytes_max: int = Field(default=4_000, ge=0)
    failed_nodes_max: int = Field(default=20, ge=1)

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("allowed are printable ASCII characters without spaces, as a header can hold them")
        return SecretStr(text)


class Switching(Section):
    """Ours: what holds for as long as a flyteadmin in Go serves the same database (docs/switching.md).

    upstream_page_tokens: Hand out upstream's offsets as page tokens, so that a list begun here can go on there. Such a
    page costs more the further down it is, and rows that are inserted meanwhile can repeat or be missed.
    """

    upstream_page_tokens: bool = False


class Settings(Section):
    """What the whole program is set up with; made by load() once and passed on, never global."""

    home: Path = Path("~/.flyteadmin")
    engine: EngineSection = EngineSection()
    limits: Limits = Limits()
    mcp: Mcp = Mcp()
    switching: Switching = Switching()
    server: upstream.ServerSection = upstream.ServerSection()
    flyteadmin: upstream.FlyteAdmin = upstream.FlyteAdmin()
    remote_data: upstream.RemoteData = upstream.RemoteData()
    domains: tuple[upstream.Domain, ...] = upstream.DOMAINS
    namespace_mapping: upstream.NamespaceMapping = upstream.NamespaceMapping()
    task_resources: upstream.TaskResources = upstream.TaskResources()
    task_type_whitelist: dict[str, tuple[upstream.WhitelistScope, ...]] = {}
    plugins: Plugins = Plugins()
    queues: upstream.Queues = upstream.Queues()
    quality_of_service: upstream.QualityOfService = upstream.QualityOfService()
    clusters: upstream.Clusters = upstream.Clusters()
    cluster_pools: upstream.ClusterPools = upstream.ClusterPools()
    cluster_resources: upstream.ClusterResources = upstream.ClusterResources()
    registration: upstream.Registration = upstream.Registration()
    scheduler: upstream.Scheduler = upstream.Scheduler()
    notifications: outbound.Notifications = outbound.Notifications()
    external_events: outbound.ExternalEvents = outbound.ExternalEvents()
    cloud_events: outbound.CloudEvents = outbound.CloudEvents()
    auth: Auth = Auth()
    secrets: upstream.Secrets = upstream.Secrets()
    storage: upstream.Storage = upstream.Storage()
    database: upstream.DatabaseSection = upstream.DatabaseSection()
    logger: upstream.Logger = upstream.Logger()

    @property
    def home_path(self) -> Path:
        """FLYTEADMIN_HOME as an absolute path."""
        return Path(os.path.abspath(self.home.expanduser()))

    @property
    def request_body_bytes_max(self) -> int:
        """Largest request message: server.grpc.maxMessageSizeBytes, 4 MiB where that is 0."""
        return self.server.grpc.max_message_size_bytes or 4 * 1024 * 1024

    @property
    def environment_path(self) -> Path:
        """The virtual environment that the local engine's tasks run in."""
        chosen = self.engine.local.environment
        return Path(chosen).expanduser().absolute() if chosen else self.home_path / "envs" / "default"

    @property
    def database_url(self) -> str:
        """sqlite:///absolute/path or postgresql://…; the password is in it, so it is never printed.

        errors: BadSetting for another kind of URL; where database.postgres.passwordPath cannot be read
        """
        given = self.database.url.get_secret_value()
        if given:
            return _database(given)
        postgres = self.database.postgres
        if postgres is None:
            file = self.database.sqlite.file
            path = Path(file).expanduser().absolute() if file else self.home_path / "flyteadmin.db"
            return f"sqlite:///{path}"
        password = postgres.password.get_secret_value()
        if postgres.password_path:
            try:
                password = Path(postgres.password_path).read_text().strip()
            except OSError as error:
                raise BadSetting(
                    f"database.postgres.passwordPath={postgres.password_path} cannot be read: {error.strerror}"
                ) from error
        user = quote(postgres.username, safe="") + (f":{quote(password, safe='')}" if password else "")
        query = _query(postgres.options)
        address = f"postgresql://{user}@{postgres.host}:{postgres.port}/{quote(postgres.dbname, safe='')}"
        return f"{address}?{query}" if query else address

    @property
    def storage_url(self) -> str:
        """Where data lies: an absolute path, or s3://bucket[/prefix], gs://…, az://…

        errors: BadSetting where section storage contradicts itself
        """
        storage = self.storage
        if storage.url:
            return _location(storage.url)
        if not storage.type and not storage.container and not storage.stow.kind:
            return str(self.home_path / "storage")
        kind = storage.stow.kind if storage.type == "stow" or storage.stow.kind else (storage.type or "s3")
        if kind == "local":
            root = storage.stow.config.get("path") or storage.container
            return _location(os.path.join(root, storage.container) if root != storage.container else root)
        schemes = {"s3": "s3", "minio": "s3", "google": "gs", "azure": "az"}
        if kind not in schemes:
            raise BadSetting(f"storage.type={kind} is not served; allowed: {', '.join(schemes)}, local")
        if not storage.container:
            raise BadSetting(f"storage.container is missing; with storage.type={kind} it names the bucket")
        return f"{schemes[kind]}://{storage.container}"


def _database(url: str) -> str:
    """Check a database URL and return it; postgres:// and SQLAlchemy's postgresql+psycopg:// become postgresql://."""
    scheme, _, rest = url.partition("://")
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        _check_postgres(rest)
        return f"postgresql://{rest}"
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return f"sqlite:///{os.path.abspath('/' + rest.lstrip('/'))}"
    # The URL may hold a password, and what stands before :// too where it is written wrongly.
    begins = f"{scheme}://…" if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,30}", scheme) and rest else "…"
    raise BadSetting(
        f"database.url={begins} (FLYTEADMIN_DATABASE_URL) is not usable; allowed: "
        "postgresql://user:password@host:port/name or sqlite:////absolute/path"
    )


_option = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*+'|[^\s']*+)(?=\s|\Z)")


def _query(options: str) -> str:
    """Return libpq's key=value pairs, as in "sslmode=disable connect_timeout=5", as the query of a URL."""
    pairs, place = [], 0
    while options[place:].strip():
        found = _option.match(options, place)
        if found is None:
            # The options may hold a password, so they are not shown.
            raise BadSetting(
                "database.postgres.options is not usable; allowed: pairs such as sslmode=disable connect_timeout=5, "
                "values with spaces in single quotes"
            )
        value = re.sub(r"\\(.)", r"\1", found[2][1:-1]) if found[2].startswith("'") else found[2]
        pairs.append(f"{found[1]}={quote(value, safe='/:,')}")
        place = found.end()
    return "&".join(pairs)


def _check_postgres(rest: str) -> None:
    """Refuse an address that drivers read in different ways, without showing it: it holds a password.

    Args:
        rest: The address behind ://.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :].partition("?")[0]
    hosts = authority.rpartition("@")[2]
    ports = [match[1] for match in re.finditer(r"(?:^|,)(?:\[[^\]]*\]|[^,:\[\]]*):([^,]*)", hosts)]
    wrong = ""
    if authority.count("@") > 1 or "@" in path or "#" in rest:
        wrong = "it has more than one @, or a / or # before it"
    elif any(not port.isascii() or not port.isdigit() or int(port) > 65535 for port in ports if port):
        wrong = "its port is no number from 1 to 65535"
    elif re.search(r"[\s\x00-\x1f]", authority):
        wrong = "it has a space"
    if wrong:
        raise BadSetting(
            f"database.url=postgresql://… (FLYTEADMIN_DATABASE_URL) is not usable: {wrong}. In user and password write "
            "@ as %40, / as %2F, : as %3A, # as %23, ? as %3F, % as %25, a space as %20"
        )


def _location(url: str) -> str:
    """Return a storage location: local ones as plain absolute paths, others without a trailing slash."""
    scheme, marked, rest = url.partition("://")
    if marked and scheme in BUCKET_SCHEMES and re.fullmatch(r"[^/@:?#\s]+(/[^?#\s]*)?", rest):
        return url.rstrip("/")
    text = url
    if scheme == "file" and marked:
        host, slash, path = rest.partition("/")
        text = unquote(slash + path) if host in ("", "localhost") else ""
    local = Path(text).expanduser()
    if not local.is_absolute():
        buckets = ", ".join(f"{scheme}://bucket[/prefix]" for scheme in BUCKET_SCHEMES)
        raise BadSetting(
            f"storage.url={redact(url)} (FLYTEADMIN_STORAGE_URL) is not usable; allowed: an absolute path, "
            f"file:///path, {buckets}"
        )
    return os.path.abspath(local)
