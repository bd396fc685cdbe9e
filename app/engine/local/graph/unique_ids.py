"""Names that clients join rows by: node execution ids, generated names, child executions, data shards.

Every name is a join of its parts that is replaced by a hash when it grows too long. Clients compute none
of these, but they follow parent and child through them, recovery looks them up again, and a launch that is
repeated after a crash must find the same name. Pure.
"""

import base64

NODE_ID_CHARACTERS_MAX = 20
CHILD_EXECUTION_CHARACTERS_MAX = 20
GENERATED_NAME_CHARACTERS_MAX = 50

_BASE32 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "abcdefghijklmnopqrstuvwxyz123456")
_SHARD_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_FNV = {32: (0x811C9DC5, 0x01000193), 64: (0xCBF29CE484222325, 0x100000001B3)}


def fnv1a(data: bytes, bits: int) -> int:
    """The FNV-1a digest of data in 32 or 64 bits."""
    digest, prime = _FNV[bits]
    mask = (1 << bits) - 1
    for byte in data:
        digest = ((digest ^ byte) * prime) & mask
    return digest


def uid(parts: tuple[str, ...], characters_max: int, *, bits: int = 32) -> str:
    """The parts joined by "-", or "f" and the base32 digest of the join when that is too long.

    # Parity: no separator is written while the result is still empty (encoding.FixedLengthUniqueIDForParts).
    """
    joined = ""
    for index, part in enumerate(parts):
        joined += ("-" if index and joined else "") + part
    if len(joined) <= characters_max:
        return joined
    digest = fnv1a(joined.encode(), bits).to_bytes(bits // 8, "big")
    return "f" + base64.b32encode(digest).decode().rstrip("=").translate(_BASE32)


def node_unique_id(parent_unique_id: str, parent_attempt: int, node_id: str) -> str:
    """The node execution id of a node inside a subworkflow, branch, dynamic or array node."""
    return uid((parent_unique_id, str(parent_attempt), node_id), NODE_ID_CHARACTERS_MAX)


def generated_name(execution: str, node_unique_id: str, attempt: int) -> str:
    """The name of one task attempt: what Kubernetes would call the pod."""
    return uid((execution, node_unique_id, str(attempt)), GENERATED_NAME_CHARACTERS_MAX)


def child_execution(execution: str, node_unique_id: str, attempt: int) -> str:
    """The name of the execution that a launch plan node starts."""
    return uid((execution, node_unique_id, str(attempt)), CHILD_EXECUTION_CHARACTERS_MAX, bits=64)


def shard(name: str) -> str:
    """Two characters that spread raw data over 1,296 prefixes; equal names have equal shards."""
    index = fnv1a(name.encode(), 32) % len(_SHARD_CHARACTERS) ** 2
    return _SHARD_CHARACTERS[index // 36] + _SHARD_CHARACTERS[index % 36]
