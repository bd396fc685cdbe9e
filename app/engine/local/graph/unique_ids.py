"""Compute ids that are unique in an execution: of node executions, task attempts, child executions, data shards.

An id joins its parts by "-"; a join that is too long is replaced by a hash. Equal parts give equal ids, so that
recovery finds the old nodes and a launch that is repeated after a crash finds the first child execution.
"""

import base64

NODE_ID_CHARACTERS_MAX = 20
CHILD_EXECUTION_CHARACTERS_MAX = 20
GENERATED_NAME_CHARACTERS_MAX = 50

_BASE32 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "abcdefghijklmnopqrstuvwxyz123456")
_SHARD_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_FNV = {32: (0x811C9DC5, 0x01000193), 64: (0xCBF29CE484222325, 0x100000001B3)}


def fnv1a(data: bytes, bits: int) -> int:
    """Return the FNV-1a digest of data in 32 or 64 bits."""
    digest, prime = _FNV[bits]
    mask = (1 << bits) - 1
    for byte in data:
        digest = ((digest ^ byte) * prime) & mask
    return digest


def uid(parts: tuple[str, ...], characters_max: int, *, bits: int = 32) -> str:
    """Return the parts joined by "-", or "f" and the base32 digest of the join when that is too long.

    Parity: no separator is written while the result is still empty (encoding.FixedLengthUniqueIDForParts).
    """
    joined = ""
    for index, part in enumerate(parts):
        joined += ("-" if index and joined else "") + part
    if len(joined) <= characters_max:
        return joined
    digest = fnv1a(joined.encode(), bits).to_bytes(bits // 8, "big")
    return "f" + base64.b32encode(digest).decode().rstrip("=").translate(_BASE32)


def node_unique_id(parent_unique_id: str, parent_attempt: int, node_id: str) -> str:
    """Return the node execution id of a node inside a sub-workflow, branch, dynamic or array node."""
    return uid((parent_unique_id, str(parent_attempt), node_id), NODE_ID_CHARACTERS_MAX)


def generated_name(execution: str, node_unique_id: str, attempt: int) -> str:
    """Return the name of a task attempt; upstream gives it to the pod."""
    return uid((execution, node_unique_id, str(attempt)), GENERATED_NAME_CHARACTERS_MAX)


def child_execution(execution: str, node_unique_id: str, attempt: int) -> str:
    """Return the name of the execution that a launch plan node starts."""
    return uid((execution, node_unique_id, str(attempt)), CHILD_EXECUTION_CHARACTERS_MAX, bits=64)


def shard(name: str) -> str:
    """Return two characters that distribute raw data over 1,296 prefixes; equal names have equal shards."""
    index = fnv1a(name.encode(), 32) % len(_SHARD_CHARACTERS) ** 2
    return _SHARD_CHARACTERS[index // 36] + _SHARD_CHARACTERS[index % 36]
