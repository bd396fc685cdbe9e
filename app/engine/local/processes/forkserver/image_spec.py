"""Makes flytekit's ImageSpec.is_container() work for tasks that run without their image.

flytekit compares the variable _F_IMG_ID, which a built image sets, with the id of the image specification. The id is
computed from the specification in the code of the user, so it can be set only there.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from . import preload

_ID = "_F_IMG_ID"
# Our image builder (environments/taskside/flyteadmin_images.py) appends this to the tag.
_MARK = re.compile(r"-env[0-9a-f]{20}$")


def recognize(image: str, argv: list[str]) -> None:
    """Make is_container() return True for the specification that the task was registered with.

    Args:
        image: The image that the task names, "" for none.
        argv: The command of the task.
    """
    module: Any = sys.modules.get("flytekit.image_spec.image_spec")
    kind: Any = getattr(module, "ImageSpec", None)
    if not image or not hasattr(kind, "is_container"):
        return
    original = kind.is_container
    fast = os.path.basename(argv[0]) == preload.FAST

    def is_container(self: Any) -> Any:
        if _ID not in os.environ and _names(self, image, fast):
            os.environ[_ID] = getattr(self, "id", image)
        return original(self)

    kind.is_container = is_container


def _names(spec: Any, image: str, fast: bool) -> bool:
    """Return whether an ImageSpec names this image.

    Only the repositories are compared if the tag cannot be computed here. The tag may depend on files of the machine
    that registered the task: a requirements file or, without fast registration, the copied code.
    """
    if spec.builder == "noop":
        return bool(spec.base_image == image)
    image = _MARK.sub("", image)
    try:
        if spec.image_name() == image:
            return True
        # The name of a base image that our builder has sent is not known here.
        based = spec.base_image is not None and not isinstance(spec.base_image, str)
        reproducible = fast and not getattr(spec, "source_copy_mode", None) and not based
    except (OSError, ValueError):
        reproducible = False
    repository = f"{spec.registry}/{spec.name}" if spec.registry else spec.name
    return not reproducible and image.rpartition(":")[0] == repository
