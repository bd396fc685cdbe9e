"""Section `engine`: which engine runs executions, and the limits of the local one. Not upstream's."""

from typing import Literal

from pydantic import Field

from app.settings.connectors import LocalConnectors
from app.settings.values import Requirements, Section

# The user and folders, language and time zone, certificates and proxies, graphics cards, flytekit's secrets.
PASSED_VARIABLES = (
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LANGUAGE", "LC_*", "TZ"),
    *("SSL_CERT_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "*_proxy", "*_PROXY"),
    *("CUDA_*", "NVIDIA_*", "LD_LIBRARY_PATH", "FLYTE_SECRETS_*"),
)


class ImageRule(Section):
    """The environment of tasks with certain images."""

    image: str
    """Pattern of image names, such as `ghcr.io/me/*`."""

    use: str
    """Path of an interpreter, of a virtual environment or of a requirements file or pyproject.toml, from which an
    environment is made; or `default`."""


class Environments(Section):
    """The environments that the local engine makes for images."""

    images: tuple[ImageRule, ...] = ()
    """Environments of images; the first rule whose pattern matches holds."""

    other_images: bool = True
    """Run tasks whose image maps to nothing in the default environment. `false` lets them fail."""

    archives: bool = True
    """Make an environment of `requirements.txt` or `pyproject.toml` at the root of the uploaded code, for tasks that
    would run in the default environment."""

    archive_bytes_max: int = Field(default=100 * 1024 * 1024, ge=0)
    """Size of an archive up to which it is searched for these files, in bytes."""

    bytes_max: int = Field(default=20 * 1024**3, ge=0)
    """Bytes of all environments together; above it those used longest ago are removed. 0 means no limit."""

    packages_max: int = Field(default=1000, ge=1)
    """Lines of requirements of one environment; a task that needs more fails."""

    making_max: int = Field(default=2, ge=1)
    """Environments that are made at once."""

    making_seconds_max: float = Field(default=1800.0, gt=0)
    """Time for each step of an installation, in seconds."""

    retry_seconds: float = Field(default=30.0, ge=0)
    """Time for which tasks get the error of a failed installation before one of them tries again, in seconds."""


class LocalEngine(Section):
    """The engine that runs tasks as processes on this machine."""

    environment: str = ""
    """Path of the virtual environment of tasks. Empty: `envs/default` in the home folder, made with `requirements`."""

    requirements: Requirements = ("flytekit[connector]>=1.16.8,<1.17",)
    """Packages that are installed into the environment when this server makes it, in pip's form."""

    environments: Environments = Environments()

    processes_max: int = Field(default=0, ge=0)
    """Tasks that run at once; 0 means one for each CPU."""

    executions_max: int = Field(default=1000, ge=1)
    """Executions in memory at once. Others wait in the database, except children of a running execution."""

    grace_seconds: float = Field(default=30.0, ge=0)
    """Time between SIGTERM and SIGKILL for a task that is aborted or too late, in seconds."""

    log_bytes_max: int = Field(default=10 * 1024 * 1024, ge=1024)
    """Bytes of an attempt's output that its log keeps."""

    log_followers_max: int = Field(default=100, ge=0)
    """Clients of one server process that follow logs at once (`/logs/…?follow`); 0 switches following off. Others get
    RESOURCE_EXHAUSTED."""

    log_interval_seconds: float = Field(default=0.25, gt=0)
    """Time between two looks at a log that a client follows, in seconds."""

    printed_bytes_max: int = Field(default=1024**3, ge=0)
    """Bytes of output after which an attempt is ended; 0 means no limit."""

    free_bytes_min: int = Field(default=256 * 1024 * 1024, ge=0)
    """Free bytes on the disk. When less is free, the attempt that uses the disk is ended; 0 means no limit."""

    task_processes_max: int = Field(default=1000, ge=0)
    """Processes of one attempt at once; an attempt with more is ended; 0 means no limit."""

    resource_limits: bool = True
    """End tasks that use more memory than their limit, and let tasks run on no more CPUs than their limit. CPUs
    are limited on Linux only."""

    memory_bytes_max: int = Field(default=0, ge=0)
    """Memory of all running tasks together, in bytes, by their requests; other tasks wait. 0 means `memoryShare` of the
    machine's memory."""

    memory_share: float = Field(default=0.8, gt=0)
    """Share of the machine's memory, or of the container's, that tasks have together."""

    memory_bytes_of_task: int = Field(default=64 * 1024 * 1024, ge=0)
    """Memory that is counted for a task that requests none, in bytes."""

    gpus: str = "auto"
    """Graphics cards that tasks get one by one in CUDA_VISIBLE_DEVICES: a number, or a list of ids with commas; `auto`
    asks nvidia-smi. A task that requests none gets no such variable. Servers with different homes share no cards."""

    warm: bool = True
    """Fork flytekit's commands from a process that has imported flytekit, which saves its import."""

    warm_everywhere: bool = False
    """With `warm`: fork also on systems that are not known to allow it, such as macOS, whose own libraries may end a
    forked process. Without it each task starts an interpreter there. No effect on Linux."""

    warm_tasks_max: int = Field(default=1000, ge=1)
    """Tasks after which that process is replaced."""

    warm_modules_max: int = Field(default=8, ge=0)
    """Modules of registered versions that stay imported at once, so that their tasks need not import them. A module
    whose import depends on the moment, the process or the execution is imported by each task. Not seen are functions in
    C that other functions in C call, such as `defaultdict(time.time)`, `functools.partial(time.time)()` or
    `lru_cache(os.getpid)()`: their tasks share the value. Set 0 for such code: it means none."""

    warm_modules_bytes_max: int = Field(default=512 * 1024 * 1024, ge=0)
    """Memory of these modules together, in bytes; above it those used longest ago are ended. Each takes 40 to 55 MB
    beside its own data, because flytekit is copied into huge pages, which makes forks cheaper: so eight fit that add
    10 MB each. An import that needs more alone is ended, and each task imports its module."""

    reuse_workers: bool = False
    """Let Python tasks of one execution that have the same module, and the elements of a map, follow each other in one
    process. They share its memory: module variables, caches, environment of libraries, and secrets that stay in it."""

    reused_tasks_max: int = Field(default=100, ge=1)
    """Tasks that follow each other in one such process."""

    reused_idle_seconds: float = Field(default=5.0, ge=0)
    """Time for which such a process waits for its next task, in seconds."""

    array_size_max: int = Field(default=100_000, ge=1)
    """Indices of a map; a map with more fails. One row holds all of them, with some 170 bytes for each."""

    array_children_max: int = Field(default=100, ge=1)
    """Child executions of one map over a launch plan at once, unless the map itself sets fewer."""

    dynamic_depth_max: int = Field(default=50, ge=1)
    """Levels of dynamic tasks inside one another; a deeper one fails."""

    sensors_max: int = Field(default=100, ge=1)
    """Sensors that wait at once, beside the `processesMax` of other tasks."""

    sensor_interval_seconds: float = Field(default=1.0, gt=0)
    """Time between two pokes of a sensor, in seconds."""

    offloaded_literal_mbs_min: int = Field(default=0, ge=0)
    """Size from which an output is stored as an object of its own, in MiB; 0 means half of
    `storage.limits.maxDownloadMBs`."""

    offloaded_literal_mbs_max: int = Field(default=100, ge=0)
    """Largest size of such an output, in MiB; 0 switches this off."""

    deck_interval_seconds: float = Field(default=0.5, gt=0)
    """Time between two checks whether a running task has written its deck, in seconds. It doubles while a bucket holds
    none."""

    deck_interval_seconds_max: float = Field(default=10.0, gt=0)
    """Longest time between two such checks, in seconds."""

    storage_wait_seconds_max: float = Field(default=1800.0, ge=0)
    """Time that an execution waits for an object store that does not answer before it fails, in seconds. Attempts that
    fail meanwhile for that reason cost no retry."""

    passed_variables: tuple[str, ...] = PASSED_VARIABLES
    """Patterns of the names of this server's environment variables that tasks receive."""

    keyring_service: str = "flyteadmin"
    """Service under which the system's keyring has secrets of tasks, with group/version/key as the user. It is read
    where the extra `keyring` is installed. Empty: the keyring is not read."""

    python_path: str = ""
    """PYTHONPATH of tasks."""

    connectors: LocalConnectors = LocalConnectors()


class KubernetesEngine(Section):
    """The engine that runs executions by FlytePropeller on Kubernetes."""

    launch_retry_seconds: float = Field(default=600.0, ge=0)
    """Time for which a launch that Kubernetes cannot take at present is repeated, in seconds; then it fails."""

    first_try_ms: int = Field(default=2000, ge=0)
    """Time that TerminateExecution and the launch of a single task wait for Kubernetes' answer, in milliseconds. After
    it they succeed, and the engine continues."""

    reconcile_seconds: float = Field(default=300.0, gt=0)
    """Time between two comparisons of running executions with the objects of the clusters, in seconds."""

    grace_seconds: float = Field(default=60.0, ge=0)
    """Time after which an execution ends whose object is missing without FlytePropeller's last event, in seconds."""

    requests_max: int = Field(default=20, ge=1)
    """Calls to the API of one cluster at once, per server process."""

    object_bytes_max: int = Field(default=1024 * 1024, ge=1)
    """Size of an object, in bytes, from which workflow and inputs are sent by their addresses in the storage."""

    delete_unknown_objects: bool = False
    """Delete objects that have the labels of an execution which this server's database does not have."""


class EngineSection(Section):
    """The engine that runs executions."""

    kind: Literal["local", "kubernetes", "none"] = "local"
    """`local` runs tasks on this machine, `kubernetes` hands executions to FlytePropeller, `none` only records
    executions and events."""

    local: LocalEngine = LocalEngine()
    kubernetes: KubernetesEngine = KubernetesEngine()
