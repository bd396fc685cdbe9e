"""Choose the Kubernetes cluster of an execution by its label.

Source: flyteadmin/pkg/executioncluster/impl (random_cluster_selector.go, in_cluster.go).
"""

from __future__ import annotations

import hashlib

from flyteidl.admin import execution_pb2, matchable_resource_pb2
from flyteidl.core import identifier_pb2

from app.runtime.context import Context
from app.services import matchable_attributes
from app.settings.clusters import Clusters, ClusterWeight


def choose(section: Clusters, label: str, name: str) -> str:
    """Return the cluster of an execution: by label, else by the default label, else any enabled cluster.

    Deviates: upstream draws with Go's generator of random numbers, seeded with the name. The row records the cluster,
    so nobody computes it again.

    Args:
        section: The clusters, at least one of which is enabled.
        label: The label of the execution, "" for none.
        name: The name of the execution, which decides the draw.
    """
    enabled = {cluster.name for cluster in section.cluster_configs if cluster.enabled}
    candidates: list[ClusterWeight] = []
    for key in (label, section.default_execution_label):
        candidates = candidates or [entry for entry in section.label_cluster_map.get(key, ()) if entry.id in enabled]
    candidates = candidates or [ClusterWeight(id=cluster) for cluster in enabled]
    candidates.sort(key=lambda entry: entry.id)
    total = sum(entry.weight for entry in candidates)
    if not total:
        candidates, total = [entry.model_copy(update={"weight": 1.0}) for entry in candidates], len(candidates)
    drawn = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64 * total
    for entry in candidates:
        drawn -= entry.weight
        if drawn < 0:
            return entry.id
    return next(entry.id for entry in reversed(candidates) if entry.weight)


async def label_of(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, spec: execution_pb2.ExecutionSpec, workflow: str
) -> str:
    """Return the label of an execution: that of the request, else of the attributes of its workflow, "" for none."""
    label: str = spec.execution_cluster_label.value
    if label:
        return label
    kind = matchable_resource_pb2.EXECUTION_CLUSTER_LABEL
    # Parity: the name of the workflow is used as that of the launch plan too.
    found = await matchable_attributes.resolve(ctx, kind, id.project, id.domain, workflow, workflow)
    if found is not None:
        label = found.execution_cluster_label.value
    return label
