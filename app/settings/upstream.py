"""The sections that upstream's configuration files have, with upstream's keys in snake_case.

Any spelling of a key is read (httpPort, http_port, HTTPPORT, kube-config): see app/settings/load.py.
Source of keys and defaults: flyteadmin/pkg/runtime/interfaces, flyteadmin/pkg/config, flyteadmin/auth/config
and flytestdlib's storage, database and logger sections at v1.16.8.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr

from app.settings.hosts import HostName, WebOrigin
from app.settings.values import Port, Quantity, Seconds, Section


class Ssl(Section):
    certificate_file: str = ""
    key_file: str = ""


class Security(Section):
    """Which requests are served: app/api/http/origins.py.

    allowed_origins: pages of other origins that may call this server, as scheme://host[:port]; "*" for all pages.
    allowed_hosts: ours, names beside localhost that clients may call this server by; "*" for any.
    """

    secure: bool = False
    ssl: Ssl = Ssl()
    use_auth: bool = False
    insecure_cookie_header: bool = False
    allow_cors: bool = True
    # Deviates: upstream's default is "*", with which any page can run commands through the local engine.
    allowed_origins: tuple[WebOrigin, ...] = ()
    allowed_hosts: tuple[HostName, ...] = ()
    allowed_headers: tuple[str, ...] = ("Content-Type", "flyte-authorization")


class Grpc(Section):
    port: Port = 30081
    server_reflection: bool = True
    max_message_size_bytes: int = Field(default=0, ge=0)
    enable_grpc_latency_metrics: bool = False
    max_concurrent_streams: int = Field(default=0, ge=0)


class Upload(Section):
    max_expires_in_seconds: Seconds = 3600.0
    default_file_name_length: int = Field(default=20, ge=1, le=255)
    storage_prefix: str = ""


class Download(Section):
    max_expires_in_seconds: Seconds = 3600.0


class DataProxy(Section):
    upload: Upload = Upload()
    download: Download = Download()


class KubeClient(Section):
    qps: int = Field(default=100, ge=0)
    burst: int = Field(default=25, ge=0)
    timeout_seconds: Seconds = 30.0


class ServerSection(Section):
    """host, workers, http and public_url are ours: which address to bind, how many processes, which protocol library,
    and how clients write this server's address (scheme://host[:port]) where their own requests do not tell."""

    host: str = "127.0.0.1"
    public_url: str = ""
    workers: int = Field(default=1, ge=1, le=256)
    http: Literal["zttp", "httptools"] = "zttp"
    http_port: Port = 30080
    grpc: Grpc = Grpc()
    security: Security = Security()
    data_proxy: DataProxy = DataProxy()
    kube_config: str = ""
    master: str = ""
    kube_client_config: KubeClient = KubeClient()
    read_header_timeout_seconds: int = Field(default=32, ge=1)
    graceful_shutdown_timeout_seconds: int = Field(default=10, ge=0)


class FeatureGates(Section):
    enable_artifacts: bool = False


class FlyteAdmin(Section):
    role_name_key: str = ""
    metrics_scope: str = "flyte:"
    metrics_keys: tuple[str, ...] = (
        "project",
        "domain",
        "wf",
        "task",
        "phase",
        "tasktype",
        "runtime_type",
        "runtime_version",
        "app_name",
    )
    profiler_port: Port = 10254
    metadata_storage_prefix: tuple[str, ...] = ("metadata", "admin")
    event_version: int = 2
    async_events_buffer_size: int = Field(default=100, ge=0)
    max_parallelism: int = Field(default=25, ge=0, le=2**31 - 1)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    interruptible: bool = False
    overwrite_cache: bool = False
    assumable_iam_role: str = ""
    k8s_service_account: str = ""
    output_location_prefix: str = ""
    use_offloaded_workflow_closure: bool = False
    use_offloaded_inputs: bool = False
    envs: dict[str, str] = Field(default={}, repr=False)
    feature_gates: FeatureGates = FeatureGates()
    console_url: str = ""
    inject_identity_annotations: bool = False
    identity_annotation_prefix: str = ""
    identity_annotation_keys: tuple[str, ...] = ()


CLOSURE_BYTES_MAX = 64 * 1024 * 1024


def _inline_policy(value: Any) -> Any:
    names = {"0": "Offload", "1": "StoreInline", "offload": "Offload", "storeinline": "StoreInline"}
    return names.get(str(value).lower(), value)


class SignedUrls(Section):
    enabled: bool = False
    duration_minutes: int = Field(default=0, ge=0)
    signing_principal: str = ""


class RemoteData(Section):
    scheme: str = "none"
    region: str = ""
    signed_urls: SignedUrls = SignedUrls()
    max_size_in_bytes: int = 2 * 1024 * 1024
    inline_event_data_policy: Annotated[Literal["Offload", "StoreInline"], BeforeValidator(_inline_policy)] = "Offload"


class Domain(Section):
    id: str = Field(min_length=1)
    name: str = Field(min_length=1)


DOMAINS = tuple(Domain(id=name, name=name) for name in ("development", "staging", "production"))


class NamespaceMapping(Section):
    template: str = "{{ project }}-{{ domain }}"


class ResourceSet(Section):
    """Quantities as text; "" means that the platform sets none."""

    cpu: Quantity = ""
    gpu: Quantity = ""
    memory: Quantity = ""
    ephemeral_storage: Quantity = ""


class TaskResources(Section):
    defaults: ResourceSet = ResourceSet()
    limits: ResourceSet = ResourceSet()


class ExecutionQueue(Section):
    dynamic: str = ""
    attributes: tuple[str, ...] = ()


class WorkflowQueue(Section):
    domain: str = ""
    tags: tuple[str, ...] = ()


class Queues(Section):
    execution_queues: tuple[ExecutionQueue, ...] = ()
    workflow_configs: tuple[WorkflowQueue, ...] = ()


class Tier(Section):
    queueing_budget_seconds: Seconds = 0.0


class QualityOfService(Section):
    tier_execution_values: dict[str, Tier] = {}
    default_tiers: dict[str, str] = {}


class ClusterAuth(Section):
    token_path: str = ""
    cert_path: str = ""


class Cluster(Section):
    name: str = ""
    endpoint: str = ""
    auth: ClusterAuth = ClusterAuth()
    enabled: bool = False
    in_cluster: bool = False
    kube_client_config: KubeClient | None = None


class ClusterWeight(Section):
    id: str = ""
    weight: float = 0.0


class Clusters(Section):
    cluster_configs: tuple[Cluster, ...] = ()
    label_cluster_map: dict[str, tuple[ClusterWeight, ...]] = {}
    default_execution_label: str = ""


class ClusterPool(Section):
    pool: str = ""


class ClusterPools(Section):
    cluster_pool_assignments: dict[str, ClusterPool] = {}


class Registration(Section):
    """0 means no limit; workflow_size_limit is a quantity such as 1Mi, "" for none."""

    max_workflow_nodes: int = Field(default=100, ge=0)
    max_label_entries: int = Field(default=0, ge=0)
    max_annotation_entries: int = Field(default=0, ge=0)
    workflow_size_limit: Quantity = ""


class AwsScheduler(Section):
    region: str = ""
    schedule_role: str = ""
    target_name: str = ""
    schedule_name_prefix: str = ""


class EventScheduler(Section):
    scheme: str = "local"
    region: str = ""
    schedule_role: str = ""
    target_name: str = ""
    schedule_name_prefix: str = ""
    aws: AwsScheduler = AwsScheduler()
    local: dict[str, str] = {}


class AdminRateLimit(Section):
    tps: float = 100.0
    burst: int = 10


class LocalWorkflowExecutor(Section):
    admin_rate_limit: AdminRateLimit = AdminRateLimit()
    use_utc_tz: bool = False


class AwsWorkflowExecutor(Section):
    region: str = ""
    schedule_queue_name: str = ""
    account_id: str = ""


class WorkflowExecutor(Section):
    scheme: str = "local"
    region: str = ""
    schedule_queue_name: str = ""
    account_id: str = ""
    aws: AwsWorkflowExecutor = AwsWorkflowExecutor()
    local: LocalWorkflowExecutor = LocalWorkflowExecutor()


class Scheduler(Section):
    profiler_port: Port = 10254
    event_scheduler: EventScheduler = EventScheduler()
    workflow_executor: WorkflowExecutor = WorkflowExecutor()
    reconnect_attempts: int = Field(default=0, ge=0)
    reconnect_delay_seconds: float = Field(default=0, ge=0)


class DataSourceFrom(Section):
    env: str = ""
    file_path: str = ""


class DataSource(Section):
    value: str = Field(default="", repr=False)
    value_from: DataSourceFrom = DataSourceFrom()


class ClusterResources(Section):
    template_path: str = ""
    template_data: dict[str, DataSource] = {}
    custom_data: dict[str, dict[str, DataSource]] = {}
    refresh_interval_seconds: Seconds = 60.0
    standalone_deployment: bool = False


class Secrets(Section):
    """Where secrets are looked up: the environment first, then files."""

    secrets_prefix: str = "/etc/secrets"
    env_prefix: str = "FLYTE_SECRET_"


class Formatter(Section):
    type: str = ""


class Logger(Section):
    """level counts as upstream's does: 2 error, 3 warning, 4 info, 5 debug; formatter.type "" asks the terminal."""

    show_source: bool = False
    mute: bool = False
    level: int = Field(default=4, ge=0, le=6)
    formatter: Formatter = Formatter()


class StorageConnection(Section):
    endpoint: str = ""
    auth_type: str = "iam"
    access_key: str = Field(default="", repr=False)
    secret_key: SecretStr = SecretStr("")
    region: str = "us-east-1"
    disable_ssl: bool = False


class Stow(Section):
    """config is the driver's own table: region, endpoint, auth_type, access_key_id, secret_key, path, …"""

    kind: str = ""
    config: dict[str, str] = Field(default={}, repr=False)


class StorageLimits(Section):
    """max_download_mbs: MiB of one object of literals (inputs, outputs), read or written; 0 is no limit.

    10 as upstream's charts set it; with a configuration file that does not say, upstream's own default of 2.
    """

    max_download_mbs: int = Field(default=10, ge=0)

    @property
    def max_download_bytes(self) -> int:
        return self.max_download_mbs * 1024 * 1024

    @property
    def closure_bytes_max(self) -> int:
        """Return the limit of a compiled workflow: 64 MiB where max_download_mbs is less; 0 is no limit.

        Deviates: upstream registers closures of any size and reads those up to storage.limits.maxDownloadMBs; here
        what can be registered can be read. A request and the tasks that it names stay far below.
        """
        return max(self.max_download_bytes, CLOSURE_BYTES_MAX) if self.max_download_mbs else 0


class StorageCache(Section):
    max_size_mbs: int = Field(default=0, ge=0)
    target_gc_percent: int = 0


class HttpClient(Section):
    headers: dict[str, tuple[str, ...]] = Field(default={}, repr=False)
    timeout_seconds: Seconds = 0.0


class StorageSignedUrl(Section):
    stow_config_override: dict[str, str] = Field(default={}, repr=False)


class Storage(Section):
    """url is ours: an absolute path, file:///…, s3://bucket[/prefix]; it wins over type and container.

    aliases is ours: locations that are read from a copy of theirs, {s3://bucket: /folder/with/its/objects}.
    """

    url: str = ""
    aliases: dict[str, str] = {}
    type: Literal["", "s3", "minio", "local", "mem", "stow"] = ""
    connection: StorageConnection = StorageConnection()
    stow: Stow = Stow()
    container: str = ""
    enable_multicontainer: bool = False
    cache: StorageCache = StorageCache()
    limits: StorageLimits = StorageLimits()
    default_http_client: HttpClient = HttpClient()
    signed_url: StorageSignedUrl = StorageSignedUrl()


class Postgres(Section):
    """Defaults are upstream's; the section counts only when a key of it is given."""

    host: str = "localhost"
    read_replica_host: str = "localhost"
    port: Port = 30001
    dbname: str = "postgres"
    username: str = "postgres"
    password: SecretStr = SecretStr("postgres")
    password_path: str = ""
    options: str = "sslmode=disable"
    debug: bool = False


class Sqlite(Section):
    file: str = ""


class DatabaseSection(Section):
    """url is ours and wins: postgresql://user:password@host:port/name or sqlite:///absolute/path.

    max_open_connections is for all workers together; a PostgreSQL as it comes allows a hundred in all.
    Each worker may take two, one for quick reads and one for all else, so more workers than half of it can exceed it.
    """

    url: SecretStr = SecretStr("")
    postgres: Postgres | None = None
    sqlite: Sqlite = Sqlite()
    max_idle_connections: int = Field(default=10, ge=0)
    max_open_connections: int = Field(default=20, ge=1)
    conn_max_life_time_seconds: Seconds = 3600.0
    enable_foreign_key_constraint_when_migrating: bool = False


class WhitelistScope(Section):
    project: str = ""
    domain: str = ""
