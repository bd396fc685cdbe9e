"""Sections `flyteadmin`, `remoteData` and `registration`: defaults of executions, stored data, limits of workflows.

Source: flyteadmin/pkg/runtime/interfaces/application_configuration.go at v1.16.8.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from app.settings.values import Port, Quantity, Section, merged


class FeatureGates(Section):
    """Optional features of upstream."""

    enable_artifacts: bool = False
    """Resolve inputs of launches that are artifact queries."""


class FlyteAdmin(Section):
    """Defaults of executions, names of metrics, the place of metadata."""

    role_name_key: str = ""
    """Annotation that holds the role of an execution."""

    metrics_scope: str = "flyte:"
    """Prefix of the names of all metrics."""

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
    """Labels of upstream's metrics."""

    profiler_port: Port = 10254
    """Port of the metrics, at /metrics. 0 picks a free port."""

    metadata_storage_prefix: tuple[str, ...] = ("metadata", "admin")
    """Path segments below the storage under which metadata (inputs, outputs, closures) is stored."""

    event_version: int = 2
    """Version of the events that FlytePropeller sends."""

    async_events_buffer_size: int = Field(default=100, ge=0)
    """Number of events that wait to be published."""

    max_parallelism: int = Field(default=25, ge=0, le=2**31 - 1)
    """Nodes of one execution that run at once, where launch, launch plan and attributes set no number."""

    labels: dict[str, str] = {}
    """Labels of executions whose launch, launch plan and attributes set none."""

    annotations: dict[str, str] = {}
    """Annotations of executions whose launch, launch plan and attributes set none."""

    interruptible: bool = False
    """Whether tasks may run on interruptible machines, where nothing nearer to the task decides."""

    overwrite_cache: bool = False
    """Whether executions ignore cached outputs and store new ones, where nothing nearer decides."""

    assumable_iam_role: str = ""
    """IAM role of executions whose launch, launch plan and attributes set none."""

    k8s_service_account: str = ""
    """Kubernetes service account of executions whose launch, launch plan and attributes set none."""

    output_location_prefix: str = ""
    """Location of raw output data of executions whose launch, launch plan and attributes set none."""

    use_offloaded_workflow_closure: bool = False
    """Send the workflow to FlytePropeller by its address in the storage."""

    use_offloaded_inputs: bool = False
    """Send inputs to FlytePropeller by their address in the storage."""

    envs: dict[str, str] = Field(default={}, repr=False)
    """Environment variables of tasks, where launch, launch plan and attributes set none. Values are shown masked."""

    feature_gates: FeatureGates = FeatureGates()

    console_url: str = ""
    """Address of the console. A task with links receives the address of its execution in FLYTE_EXECUTION_URL."""

    @field_validator("labels", "annotations", "envs", mode="before")
    @classmethod
    def _tables(cls, value: Any) -> Any:
        return merged(value)

    inject_identity_annotations: bool = False
    """Annotate executions with the identity of the launching user or application, where authentication is on."""

    identity_annotation_prefix: str = ""
    """Prefix of identity annotations, a name of DNS; empty means `flyte.org`."""

    identity_annotation_keys: tuple[str, ...] = ()
    """Claims that become identity annotations: `email`, `sub`; for applications also `id`."""


def _inline_policy(value: Any) -> Any:
    names = {"0": "Offload", "1": "StoreInline", "offload": "Offload", "storeinline": "StoreInline"}
    return names.get(str(value).lower(), value)


class SignedUrls(Section):
    """Signed addresses of inputs and outputs in replies."""

    enabled: bool = False
    """Sign the addresses of inputs and outputs in replies, so that clients can download them."""

    duration_minutes: int = Field(default=0, ge=0)
    """Validity of such an address, in minutes."""

    signing_principal: str = ""
    """Service account that signs addresses of Google Cloud Storage."""


class RemoteData(Section):
    """Inputs and outputs of executions in replies and in the database."""

    scheme: str = "none"
    """Kind of store: with `aws` or `gcs`, a reply that carries a signed address leaves out data of `maxSizeInBytes` or
    more; with `none` or `local` it carries them too."""

    region: str = ""
    """Region of the store."""

    signed_urls: SignedUrls = SignedUrls()

    max_size_in_bytes: int = 2 * 1024 * 1024
    """Largest inputs or outputs that replies carry inline and events may hold, in bytes; 0 means no limit."""

    inline_event_data_policy: Annotated[Literal["Offload", "StoreInline"], BeforeValidator(_inline_policy)] = "Offload"
    """Where outputs that arrive in an event are stored: `Offload` (0) in the storage, `StoreInline` (1) in the row."""


class Registration(Section):
    """Limits of what is registered."""

    max_workflow_nodes: int = Field(default=100, ge=0)
    """Largest number of nodes of a workflow; 0 means no limit."""

    max_label_entries: int = Field(default=0, ge=0)
    """Largest number of labels of an execution; 0 means no limit."""

    max_annotation_entries: int = Field(default=0, ge=0)
    """Largest number of annotations of an execution; 0 means no limit."""

    workflow_size_limit: Quantity = ""
    """Largest compiled workflow, as a quantity such as `1Mi`; empty means no limit."""
