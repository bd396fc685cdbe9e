"""GetVersion (flyteidl/admin/version.proto)."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import metadata

from flyteidl.admin import version_pb2

from app.runtime.context import Context

# Parity: without a recorded build, upstream returns the time at which the process started.
_STARTED = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
_VERSION = version_pb2.Version(Build="unknown", Version=f"v{metadata.version('flyteadmin')}", BuildTime=_STARTED)


async def get_version(ctx: Context, request: version_pb2.GetVersionRequest) -> version_pb2.GetVersionResponse:
    """Return the version of this server.

    Source: upstream VersionManager.GetVersion.
    """
    return version_pb2.GetVersionResponse(control_plane_version=_VERSION)
