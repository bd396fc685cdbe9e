"""Image builder of flytekit that builds no image: it sends the packages of an ImageSpec to flyteadmin.

The description of the packages is uploaded to the storage of the server, into the folder of the project and domain.
The tag of the image ends with a digest of the description, by which the server finds and checks it. The server makes
an environment with these packages when a task with the image runs.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

_image_spec: Any = importlib.import_module("flytekit.image_spec.image_spec")

BUILDER = "flyteadmin"
# Other plugins have at most 5. The builder with the highest priority is the default.
_PRIORITY = 10
# app/engine/local/processes/environments/images.py uses the same names.
_DIGEST_LENGTH = 20
_MARK = "-env"
_FOLDER = "flyteadmin-images"
_FILE = "image.json"
_FILE_BYTES_MAX = 1024 * 1024

_NOT_SENT = (
    "The packages of image {} are not sent to flyteadmin: {}. When its tasks run, flyteadmin uses the rule in "
    "engine.local.environments.images, or the default environment."
)

# Attributes without effect on the server. The server names them in the log of each task.
_IGNORED = (
    *("apt_packages", "conda_packages", "conda_channels", "cuda", "cudnn", "commands", "copy", "pip_secret_mounts"),
    *("python_exec", "entrypoint", "builder_options"),
)
# Of these the server names the values.
_NAMED = ("apt_packages", "conda_packages", "conda_channels", "cuda", "cudnn")
_VALUES_MAX, _VALUE_CHARACTERS_MAX = 50, 100

# The descriptions of images that this process has sent, by the name of the image.
_sent: dict[str, dict[str, Any]] = {}


class PackagesSender(_image_spec.ImageSpecBuilder):  # type: ignore[misc] # flytekit is not installed here.
    """Sends the packages of an ImageSpec to the server that pyflyte or FlyteRemote talks to."""

    def should_build(self, image_spec: Any) -> bool:
        """Return True: there is no registry to look into, and an upload of the same content changes nothing."""
        return True

    def build_image(self, image_spec: Any) -> str:
        """Upload the description and return the name of the image.

        Without a server or project, as for `pyflyte package`, the name carries no digest.
        """
        described = describe(image_spec)
        content = json.dumps(described, sort_keys=True, indent=1).encode()
        if len(content) > _FILE_BYTES_MAX:
            raise ValueError(f"the packages of image {image_spec.name} take more than {_FILE_BYTES_MAX} bytes")
        digest = hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]
        remote, project, domain = _destination()
        if not project or not domain:
            return _not_sent(image_spec, "this command names no project and domain")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / _FILE
            file.write_bytes(content)
            try:
                remote.upload_file(file, project, domain, f"{_FOLDER}/{digest}")
            except Exception as error:
                if not _is_unreachable(error):
                    raise
                return _not_sent(image_spec, "no server answers")
        name = f"{image_spec.image_name()}{_MARK}{digest}"
        _sent[name] = described
        return name


def _not_sent(image_spec: Any, reason: str) -> str:
    name: str = image_spec.image_name()
    click: Any = importlib.import_module("click")
    click.echo(_NOT_SENT.format(name, reason), err=True)
    return name


def _is_unreachable(error: BaseException | None) -> bool:
    """Return whether an error comes from a server that does not answer."""
    grpc: Any = importlib.import_module("grpc")
    while error is not None:
        if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
            return bool(error.code() == grpc.StatusCode.UNAVAILABLE)
        error = error.__cause__ or error.__context__
    return False


def describe(spec: Any) -> dict[str, Any]:
    """Return what the server needs to know about an ImageSpec."""
    requirements = list(spec.packages or ())
    if spec.requirements:
        requirements = [*_requirements(spec.requirements), *requirements]
    version = importlib.metadata.version("flytekit")
    described: dict[str, Any] = {
        "python": spec.python_version or "",
        "requirements": requirements,
        "flytekit": "" if "dev" in version else version,
        "index": spec.pip_index or "",
        "extra_indexes": list(spec.pip_extra_index_url or ()),
        # flytekit before 1.15 has no such attribute.
        "arguments": getattr(spec, "pip_extra_args", None) or "",
        "env": dict(spec.env or {}),
        "ignored": {name: _values(spec, name) for name in _IGNORED if getattr(spec, name, None)},
        "base": spec.base_image if isinstance(spec.base_image, str) else "",
    }
    base = _sent.get(described["base"])
    if base is not None:
        described["requirements"] = [*base["requirements"], *requirements]
        described["env"] = {**base["env"], **described["env"]}
        for name, values in base["ignored"].items():
            both = [*values, *described["ignored"].get(name, ())]
            described["ignored"][name] = list(dict.fromkeys(both))[:_VALUES_MAX]
        described["base"] = base["base"]
        for name in ("python", "index", "extra_indexes", "arguments"):
            described[name] = described[name] or base[name]
    return described


def _values(spec: Any, name: str) -> list[str]:
    """Return the values of an attribute without effect; none where they may be secrets."""
    if name not in _NAMED:
        return []
    value = getattr(spec, name)
    values = [value] if isinstance(value, str) else value
    return [str(one)[:_VALUE_CHARACTERS_MAX] for one in values][:_VALUES_MAX]


def _requirements(path: str) -> list[str]:
    name = os.path.basename(path)
    if name in ("uv.lock", "poetry.lock"):
        raise ValueError(
            f"flyteadmin makes no environment of {name}; make a requirements.txt: uv export --format requirements-txt"
        )
    return [line for line in Path(path).read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _destination() -> tuple[Any, str, str]:
    """Return the FlyteRemote that registers the task with this image, and the project and domain of the task if known.

    flytekit gives neither to a builder, so they are taken from the functions that called it.
    """
    settings_kind: Any = importlib.import_module("flytekit.configuration").SerializationSettings
    remote_kind: Any = importlib.import_module("flytekit.remote.remote").FlyteRemote
    settings: Any = None
    remote: Any = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (settings is None or remote is None):
        for value in tuple(frame.f_locals.values()):
            if settings is None and isinstance(value, settings_kind) and value.project:
                settings = value
            if remote is None and isinstance(value, remote_kind):
                remote = value
        frame = frame.f_back
    given = _command_line()
    if remote is None:
        remote = given.get("remote") or _configured(given.get("config"))
    project = getattr(settings, "project", None) or given.get("project") or remote.default_project
    domain = getattr(settings, "domain", None) or given.get("domain") or remote.default_domain
    return remote, project, domain


def _command_line() -> dict[str, Any]:
    """Return the options of pyflyte: remote, config, project, domain."""
    click: Any = importlib.import_module("click")
    context = click.get_current_context(silent=True)
    found: dict[str, Any] = {}
    while context is not None:
        for name in ("project", "domain"):
            if isinstance(context.params.get(name), str):
                found.setdefault(name, context.params[name])
        if isinstance(context.obj, dict):
            found.setdefault("remote", context.obj.get("flyte_remote"))
            found.setdefault("config", context.obj.get("config_file"))
        level = getattr(context.obj, "project", None)
        if isinstance(level, str):
            found.setdefault("project", level)
            found.setdefault("domain", context.obj.domain)
        context = context.parent
    return found


def _configured(config: Any) -> Any:
    kind: Any = importlib.import_module("flytekit.configuration").Config
    remote: Any = importlib.import_module("flytekit.remote.remote").FlyteRemote
    return remote(config=kind.auto(config_file=config))


_image_spec.ImageBuildEngine.register(BUILDER, PackagesSender(), priority=_PRIORITY)
