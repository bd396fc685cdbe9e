"""The settings tree. Each section is a class of its own module; `load` (load.py) makes the tree.

Each field has a docstring with its unit and effect, from which `flyteadmin config docs` and docs/settings.md are made.
"""

import os
from pathlib import Path

from app.settings import admin, events_out, outbound, platform
from app.settings.auth import Auth
from app.settings.clusters import ClusterPools, ClusterResources, Clusters
from app.settings.console import Console
from app.settings.database import DatabaseSection
from app.settings.datacatalog import DataCatalog
from app.settings.engine import EngineSection
from app.settings.limits import Limits, Switching
from app.settings.logger import Logger, Secrets
from app.settings.mcp import Mcp
from app.settings.outbox import Outbox
from app.settings.plugins import Plugins
from app.settings.scheduler import Scheduler
from app.settings.server import ServerSection
from app.settings.storage import Storage
from app.settings.values import Section


class Settings(Section):
    """All settings of the program. `load` makes one instance, which is passed on; there is no global one."""

    home: Path = Path("~/.flyteadmin")
    """Home folder: the SQLite file, the local store, logs and environments of tasks."""

    engine: EngineSection = EngineSection()
    limits: Limits = Limits()
    mcp: Mcp = Mcp()
    console: Console = Console()
    switching: Switching = Switching()
    server: ServerSection = ServerSection()
    flyteadmin: admin.FlyteAdmin = admin.FlyteAdmin()
    remote_data: admin.RemoteData = admin.RemoteData()
    domains: tuple[platform.Domain, ...] = platform.DOMAINS
    namespace_mapping: platform.NamespaceMapping = platform.NamespaceMapping()
    task_resources: platform.TaskResources = platform.TaskResources()
    task_type_whitelist: dict[str, tuple[platform.WhitelistScope, ...]] = {}
    plugins: Plugins = Plugins()
    queues: platform.Queues = platform.Queues()
    quality_of_service: platform.QualityOfService = platform.QualityOfService()
    clusters: Clusters = Clusters()
    cluster_pools: ClusterPools = ClusterPools()
    cluster_resources: ClusterResources = ClusterResources()
    registration: admin.Registration = admin.Registration()
    scheduler: Scheduler = Scheduler()
    outbox: Outbox = Outbox()
    notifications: outbound.Notifications = outbound.Notifications()
    external_events: events_out.ExternalEvents = events_out.ExternalEvents()
    cloud_events: events_out.CloudEvents = events_out.CloudEvents()
    auth: Auth = Auth()
    secrets: Secrets = Secrets()
    storage: Storage = Storage()
    database: DatabaseSection = DatabaseSection()
    datacatalog: DataCatalog = DataCatalog()
    logger: Logger = Logger()

    @property
    def home_path(self) -> Path:
        """Return the home folder as an absolute path."""
        return Path(os.path.abspath(self.home.expanduser()))

    @property
    def own_url(self) -> str:
        """Return the address of this server: `server.publicUrl`, or that of the port on this machine."""
        scheme = "https" if self.server.security.secure else "http"
        return self.server.public_url or f"{scheme}://localhost:{self.server.http_port}"

    @property
    def request_body_bytes_max(self) -> int:
        """Return the size limit of a request message: server.grpc.maxMessageSizeBytes, 4 MiB where that is 0."""
        return self.server.grpc.max_message_size_bytes or 4 * 1024 * 1024

    @property
    def environment_path(self) -> Path:
        """Return the path of the virtual environment that the local engine's tasks run in."""
        chosen = self.engine.local.environment
        return Path(chosen).expanduser().absolute() if chosen else self.home_path / "envs" / "default"

    @property
    def database_url(self) -> str:
        """Return the address of the database, see `DatabaseSection.address`; it holds the password."""
        return self.database.address(self.home_path)

    @property
    def storage_url(self) -> str:
        """Return where objects lie, see `Storage.location`."""
        return self.storage.location(self.home_path)
