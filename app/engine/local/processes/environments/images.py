"""Which environment a task runs in: by its image, by the packages in its description, by its archive of code.

An image is looked up in this order: the rules of the setting `engine.local.environments.images`; the mark of an image
whose packages flytekit's plugin has uploaded; flytekit's own images, which mean the default environment.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from flyteidl.core import tasks_pb2

from app.blobs import BlobError, BlobMissing, Blobs
from app.engine.local.processes.commands import Container
from app.engine.local.processes.environments import archives, checks
from app.engine.local.processes.environments.checks import RequirementRefused
from app.engine.local.processes.environments.choice import Choice, NoEnvironment
from app.engine.local.processes.environments.installer import Sources
from app.engine.local.processes.environments.wanted import Wanted, with_flytekit
from app.settings import Settings

SETTING = "engine.local.environments"
RUNTIME_PACKAGES = "_F_RUNTIME_PACKAGES"
# taskside/flyteadmin_images.py uses the same names.
MARK = "-env"
_DIGEST_LENGTH = 20
_FOLDER = "flyteadmin-images"
_FILE = "image.json"
_FILE_BYTES_MAX = 1024 * 1024
_REQUIREMENTS_BYTES_MAX = 1024 * 1024
_KEPT_MAX = 1000
_DEFAULT = "default"
# The images that flytekit names where a task names none.
_OF_FLYTEKIT = ("cr.flyte.org/flyteorg/flytekit:*", "ghcr.io/flyteorg/flytekit:*")


class Images:
    """Chooses environments for the tasks of a server.

    Args:
        settings: The settings.
        blobs: The store with uploaded descriptions and archives.
    """

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        self._local = settings.engine.local
        self._section = settings.engine.local.environments
        self._blobs = blobs
        self._prefix = [step for step in settings.server.data_proxy.upload.storage_prefix.split("/") if step]
        # Choices of descriptions, and requirements of archives. The names have digests of the contents.
        self._kept: dict[str, Any] = {}

    async def choose(self, task: tasks_pb2.TaskTemplate, container: Container) -> Choice:
        """Return the environment of a task.

        Raises:
            NoEnvironment: The image maps to nothing, or what it maps to cannot be used.
            BlobError: The store cannot be read.
        """
        choice = await self._of_image(task, container.image)
        runtime = tuple(container.env.get(RUNTIME_PACKAGES, "").split())
        if runtime and choice.given is None:
            choice = self._with_packages(choice, runtime)
        if choice.wanted is None and choice.given is None and self._section.archives:
            choice = await self._of_archive(choice, archives.uri_of(container.command))
        return choice

    async def _of_image(self, task: tasks_pb2.TaskTemplate, image: str) -> Choice:
        for rule in self._section.images:
            if fnmatchcase(image, rule.image):
                return self._of_rule(image, rule.use)
        _, mark, digest = image.rpartition(MARK)
        if mark and len(digest) == _DIGEST_LENGTH and set(digest) <= set("0123456789abcdef"):
            return await self._of_description(task, image, digest)
        if not image or any(fnmatchcase(image, pattern) for pattern in _OF_FLYTEKIT):
            return Choice()
        if not self._section.other_images:
            raise NoEnvironment(
                f"image [{image}] maps to no environment; add it to the setting {SETTING}.images, register with the "
                f"pyflyte of this server's default environment, or set {SETTING}.otherImages to true to run such tasks "
                "in the default environment"
            )
        notice = (
            f"image [{image}] maps to no environment of this server: the task runs in the default one "
            f"({SETTING}.images maps images)"
        )
        return Choice(notices=(notice,))

    def _of_rule(self, image: str, use: str) -> Choice:
        if use == _DEFAULT:
            return Choice()
        path = Path(use).expanduser()
        name = f"{use}, to which {SETTING}.images maps image [{image}],"
        if path.is_dir():
            if not (path / "bin" / "python").exists():
                raise NoEnvironment(f"{name} is no virtual environment: it has no bin/python")
            return Choice(given=path.resolve())
        if not path.is_file():
            raise NoEnvironment(f"{name} does not exist")
        if os.access(path, os.X_OK):
            # Not resolved: the interpreter of a virtual environment is a link.
            return Choice(given=path.absolute())
        with path.open("rb") as file:
            text = file.read(_REQUIREMENTS_BYTES_MAX + 1)
        if len(text) > _REQUIREMENTS_BYTES_MAX:
            raise NoEnvironment(f"{name} has more than {_REQUIREMENTS_BYTES_MAX} bytes")
        try:
            lines = archives.requirements_in(path.name, text)
        except ValueError as error:
            raise NoEnvironment(f"{name} cannot be read: {error}") from error
        # The file is the operator's, so its options are not checked.
        wanted = Wanted(requirements=with_flytekit(lines, self._local.requirements))
        return Choice(wanted=wanted, file=f"{path}, to which {SETTING}.images maps image [{image}]")

    async def _of_description(self, task: tasks_pb2.TaskTemplate, image: str, digest: str) -> Choice:
        folder = [*self._prefix, task.id.project, task.id.domain]
        uri = self._blobs.upload_uri(folder, [_FOLDER, digest, _FILE])
        if uri not in self._kept:
            try:
                data = await self._blobs.read(uri, bytes_max=_FILE_BYTES_MAX, setting="")
            except BlobMissing as error:
                raise NoEnvironment(
                    f"the packages of image [{image}] are not in the storage; register the task again, with the "
                    f"pyflyte of the default environment: {error}"
                ) from error
            if hashlib.sha256(data).hexdigest()[:_DIGEST_LENGTH] != digest:
                raise NoEnvironment(f"the packages of image [{image}] in [{uri}] are not those that were registered")
            try:
                described = _described(image, json.loads(data), self._local.requirements, self._section.packages_max)
            except RequirementRefused as error:
                raise NoEnvironment(f"image [{image}] gets no environment: {error}") from error
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise NoEnvironment(f"the packages of image [{image}] in [{uri}] cannot be read: {error!r}") from error
            self._keep(uri, described)
        found: Choice = self._kept[uri]
        return found

    async def _of_archive(self, choice: Choice, uri: str) -> Choice:
        if not uri:
            return choice
        if uri not in self._kept:
            try:
                data = await self._blobs.read(uri, bytes_max=self._section.archive_bytes_max, setting="")
                self._keep(uri, await asyncio.to_thread(archives.requirements_of, data))
            except ValueError as error:
                raise NoEnvironment(
                    f"the requirements in the archive [{uri}] cannot be read: {error}; {SETTING}.archives: false "
                    "ignores them"
                ) from error
            except BlobError:
                # The task reads the archive too, and reports why it cannot.
                return choice
        lines: tuple[str, ...] = self._kept[uri]
        return self._with_packages(choice, lines) if lines else choice

    def _with_packages(self, choice: Choice, packages: tuple[str, ...]) -> Choice:
        wanted = choice.wanted or Wanted(requirements=())
        lines = self._checked((*wanted.requirements, *packages), "the requirements of the task")
        return replace(choice, wanted=replace(wanted, requirements=lines))

    def _checked(self, lines: tuple[str, ...], name: str) -> tuple[str, ...]:
        """Return lines of requirements with flytekit. Raises NoEnvironment for lines that are not allowed."""
        try:
            return with_flytekit(checks.lines(lines, self._section.packages_max), self._local.requirements)
        except RequirementRefused as error:
            raise NoEnvironment(f"no environment is made of {name}: {error}") from error

    def _keep(self, uri: str, value: Any) -> None:
        if len(self._kept) >= _KEPT_MAX:
            self._kept.pop(next(iter(self._kept)))
        self._kept[uri] = value


def _described(image: str, described: Mapping[str, Any], flytekit: tuple[str, ...], packages_max: int) -> Choice:
    """Return the choice for the description that taskside/flyteadmin_images.py has written."""
    requirements = checks.lines([str(line).strip() for line in described["requirements"]], packages_max)
    (version,) = checks.lines([str(described["flytekit"])], 1)
    wanted = Wanted(
        python=checks.python_version(str(described["python"])),
        requirements=with_flytekit(requirements, (f"flytekit=={version}",) if version else flytekit),
        sources=Sources(
            index=checks.address(str(described["index"])),
            extra_indexes=tuple(checks.address(str(one)) for one in described["extra_indexes"]),
            arguments=checks.arguments(shlex.split(str(described["arguments"]))),
        ),
    )
    notices = _ignored(image, described["ignored"])
    variables = {str(name): str(value) for name, value in described["env"].items()}
    return Choice(wanted=wanted, variables=variables, notices=notices)


def _ignored(image: str, described: Mapping[str, Any] | list[Any]) -> tuple[str, ...]:
    """Return the notice about attributes of an ImageSpec without effect.

    Args:
        image: The name of the image.
        described: The values by attribute; a list of attributes in descriptions of earlier versions.
    """
    values = described if isinstance(described, Mapping) else dict.fromkeys(map(str, described), ())
    if not values:
        return ()
    shown = [f"{name} [{', '.join(map(str, given))}]" if given else str(name) for name, given in values.items()]
    return (
        f"image [{image}]: no effect here: {'; '.join(shown)}. This server makes no images: install these on its "
        f"machine, or let {SETTING}.images map the image to an environment that has them",
    )
