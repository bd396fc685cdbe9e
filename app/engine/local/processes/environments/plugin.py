"""Put flytekit's plugin taskside/flyteadmin_images.py into an environment, as an installed package."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_MODULE = "flyteadmin_images"
_SOURCE = Path(__file__).parent / "taskside" / f"{_MODULE}.py"
_VERSION = "1"
_METADATA = f"""Metadata-Version: 2.1
Name: flyteadmin-images
Version: {_VERSION}
Summary: Sends the packages of flytekit's ImageSpec to flyteadmin.
"""


def is_current(environment: Path) -> bool:
    """Return whether an environment has the plugin of this version."""
    packages = _packages(environment)
    installed = packages / _SOURCE.name if packages is not None else None
    return installed is not None and installed.exists() and installed.read_bytes() == _SOURCE.read_bytes()


def install(environment: Path) -> None:
    """Write the plugin into the packages of an environment, over an earlier one.

    Raises:
        OSError: The environment has no folder of packages, or it cannot be written.
    """
    packages = _packages(environment)
    if packages is None:
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(environment / "lib/python*/site-packages"))
    about = packages / f"{_MODULE}-{_VERSION}.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(_METADATA)
    (about / "entry_points.txt").write_text(f"[flytekit.plugins]\nflyteadmin = {_MODULE}\n")
    (about / "INSTALLER").write_text("flyteadmin\n")
    files = (_SOURCE.name, *(f"{about.name}/{name}" for name in ("METADATA", "entry_points.txt", "INSTALLER")))
    (about / "RECORD").write_text("".join(f"{name},,\n" for name in (*files, f"{about.name}/RECORD")))
    # Last, because is_current() looks at this file.
    shutil.copyfile(_SOURCE, packages / _SOURCE.name)


def _packages(environment: Path) -> Path | None:
    return next(iter(sorted(environment.glob("lib/python*/site-packages"))), None)
