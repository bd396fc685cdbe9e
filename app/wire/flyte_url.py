"""flyte:// URLs, which name the inputs, outputs or deck of a node or of one attempt of its task.

flyte://v1/<project>/<domain>/<execution>/<node>[/<attempt>]/(i|o|d)
flyte://v1/<project>/<domain>/<execution>/<node>[/<attempt>]/(i|o)/<name of a literal>
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flyteidl.core import identifier_pb2

from app import errors

SCHEME = "flyte://"

_NAME = "[a-zA-Z0-9_-]+"
_ADDRESS = re.compile(
    rf"flyte://v1/(?P<project>{_NAME})/(?P<domain>{_NAME})/(?P<execution>{_NAME})/(?P<node>{_NAME})"
    rf"(?:/(?P<attempt>[0-9]+))?/(?:(?P<kind>[iod])|(?P<named>[io])/(?P<literal>{_NAME}))"
)


@dataclass(frozen=True, slots=True)
class Artifact:
    """The data that a URL names.

    Attributes:
        attempt: The number of the attempt; None for the data of the node.
        kind: "i" for inputs, "o" for outputs, "d" for the deck.
        literal: The name of one literal; "" for all.
    """

    node: identifier_pb2.NodeExecutionIdentifier
    attempt: int | None
    kind: str
    literal: str


def parse(url: str) -> Artifact:
    """Parse a URL. Raises INVALID_ARGUMENT.

    Source: common.ParseFlyteURLToExecution.
    """
    match = _ADDRESS.fullmatch(url)
    if match is None:
        raise errors.InvalidArgument(f"failed to parse [{url}]")
    attempt = match["attempt"]
    # Deviates: upstream truncates an attempt of more than 32 bits and returns the data of another attempt.
    if attempt and (len(attempt) > 20 or int(attempt) >= 2**32):
        raise errors.InvalidArgument(
            f'failed to parse attempt [{attempt}], strconv.Atoi: parsing "{attempt}": value out of range'
        )
    node = identifier_pb2.NodeExecutionIdentifier(
        node_id=match["node"],
        execution_id=identifier_pb2.WorkflowExecutionIdentifier(
            project=match["project"], domain=match["domain"], name=match["execution"]
        ),
    )
    return Artifact(node, int(attempt) if attempt else None, match["kind"] or match["named"], match["literal"] or "")
