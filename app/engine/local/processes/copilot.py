"""What Flyte's copilot does around a raw container: inputs become files before it, files become outputs after it.

The container's input and output directories become directories of the attempt, and the paths in its command and its
variables are replaced accordingly. Proto: flyteidl/core/tasks.proto DataLoadingConfig.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml
from flyteidl.core import errors_pb2, literals_pb2, tasks_pb2, types_pb2
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from app.blobs import BlobError, Blobs, BlobUnavailable
from app.engine.local.processes.task_attempt import StartFailed, TaskAttempt
from app.services import offloading
from app.settings import Settings
from app.wire.go import gotext
from app.wire.go.goparse import go_duration

DIRECTORY = "copilot"
INPUT_PATH, OUTPUT_PATH = "/var/flyte/inputs", "/var/flyte/outputs"
_PRIMITIVE_BYTES_MAX = 1024
_ERROR_BYTES_MAX = 1024 * 1024
_HTTP_SECONDS_MAX = 60.0
_SPECIAL = "a pipe, a device or a socket; allowed are files and directories"


class _UploadFailed(Exception):
    """An output is missing, is not what the task declares, or is no file; the message goes into error.pb."""


def relocate(
    directory: Path, config: tasks_pb2.DataLoadingConfig, argv: tuple[str, ...], variables: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command and its variables with the two configured directories replaced by those of this attempt."""
    here = {
        config.input_path or INPUT_PATH: str(directory / DIRECTORY / "inputs"),
        config.output_path or OUTPUT_PATH: str(directory / DIRECTORY / "outputs"),
    }
    # The longer path first, since one of them may lie in the other; /var/in must not be found in /var/inputs.
    paths = "|".join(re.escape(path.rstrip("/")) for path in sorted(here, key=len, reverse=True))
    pattern = re.compile(rf"(?:{paths})(?![\w.-])")
    replaced = {path.rstrip("/"): new for path, new in here.items()}

    def replace(text: str) -> str:
        return pattern.sub(lambda match: replaced[match.group(0)], text)

    return tuple(map(replace, argv)), {name: replace(value) for name, value in variables.items()}


async def download(run: TaskAttempt, config: tasks_pb2.DataLoadingConfig, blobs: Blobs, settings: Settings) -> None:
    """Make the two directories and lay out the inputs.

    errors: StartFailed naming the input that cannot be laid out; BlobUnavailable
    source: flytecopilot Downloader.DownloadInputs
    """
    root = run.directory / DIRECTORY
    try:
        literals = literals_pb2.LiteralMap()
        if run.task.interface.inputs.variables:
            literals.ParseFromString(await blobs.read(run.input_uri, bytes_max=0))
        await offloading.replace_references(settings, blobs, literals)
        for uri, path in await asyncio.to_thread(_lay_out, literals, root, config.format):
            await _fetch(uri, path, blobs)
    except BlobUnavailable:
        # The execution waits for the store, which costs the attempt nothing.
        raise
    except (OSError, BlobError, DecodeError, httpx.HTTPError, ValueError) as error:
        raise StartFailed(f"inputs of [{run.task.id.name}] cannot be laid out as files: {error}") from error


def _lay_out(literals: literals_pb2.LiteralMap, root: Path, form: int) -> list[tuple[str, Path]]:
    """Write what the literals hold themselves; the rest, as pairs of location and path, is to be fetched."""
    layout = _Layout()
    inputs = root / "inputs"
    (root / "outputs").mkdir(parents=True, exist_ok=True)
    values = layout.map(literals, inputs)
    if not literals.literals:
        return []
    (inputs / "inputs.pb").write_bytes(literals.SerializeToString())
    if form == tasks_pb2.DataLoadingConfig.JSON:
        (inputs / "inputs.json").write_text(json.dumps(values))
    elif form == tasks_pb2.DataLoadingConfig.YAML:
        (inputs / "inputs.yaml").write_text(yaml.safe_dump(values))
    return layout.fetches


class _Layout:
    """Writes literals to files, gives their plain values, and points locations in them to where the files will lie."""

    def __init__(self) -> None:
        self.fetches: list[tuple[str, Path]] = []

    def map(self, literals: literals_pb2.LiteralMap, directory: Path) -> dict[str, Any]:
        directory.mkdir(parents=True, exist_ok=True)
        values = {}
        for name, literal in literals.literals.items():
            # Keys of maps are the data of a user; one that is a path would leave the directory.
            if name in ("", ".", "..") or "/" in name or "\0" in name:
                raise ValueError(f"variable or key [{name}] cannot be the name of a file")
            values[name] = self.literal(literal, directory / name)
        return values

    def literal(self, literal: literals_pb2.Literal, path: Path) -> Any:
        match literal.WhichOneof("value"):
            case "map":
                return self.map(literal.map, path)
            case "collection":
                path.mkdir(parents=True, exist_ok=True)
                elements = enumerate(literal.collection.literals)
                return [self.literal(element, path / str(index)) for index, element in elements]
            case "scalar":
                return self.scalar(literal.scalar, path)
            case kind:
                raise ValueError(f"unsupported literal type [{kind}] for [{path.name}]")

    def scalar(self, scalar: literals_pb2.Scalar, path: Path) -> Any:
        kind = scalar.WhichOneof("value")
        match kind:
            case "blob" | "schema" | "structured_dataset":
                located = getattr(scalar, kind)
                self.fetches.append((located.uri, path))
                located.uri = str(path)
                return str(path)
            case "union":
                return self.literal(scalar.union.value, path)
            case "binary":
                path.write_bytes(scalar.binary.value)
                return base64.b64encode(scalar.binary.value).decode()
            case "primitive":
                text, value = _primitive(scalar.primitive)
            case "error":
                text = value = scalar.error.message
            case "generic":
                value = _whole(json_format.MessageToDict(scalar.generic))
                text = json.dumps(value)
            case "none_type":
                text, value = "null", None
            case _:
                raise ValueError(f"unsupported scalar type [{kind}] for [{path.name}]")
        path.write_text(text)
        return value


def _whole(value: Any) -> Any:
    """The same value with whole numbers written as such: 1, where protobuf's Python gives 1.0 and its Go gives 1."""
    match value:
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
        case list():
            return [_whole(element) for element in value]
        case dict():
            return {name: _whole(element) for name, element in value.items()}
    return value


async def _fetch(uri: str, path: Path, blobs: Blobs) -> None:
    """Copy the file or directory at uri to path."""
    if uri.startswith(("http://", "https://")):
        await asyncio.to_thread(_fetch_http, uri, path)
    elif "://" in uri.removeprefix("file://"):
        data = await blobs.read(uri, bytes_max=0)
        await asyncio.to_thread(path.write_bytes, data)
    else:
        await asyncio.to_thread(_copy, uri.removeprefix("file://"), path)


def _fetch_http(uri: str, path: Path) -> None:
    with httpx.stream("GET", uri, timeout=_HTTP_SECONDS_MAX, follow_redirects=True) as reply, path.open("wb") as file:
        reply.raise_for_status()
        for part in reply.iter_bytes():
            file.write(part)


def _copy(source: str, path: Path) -> None:
    """Copy a file or a directory of this machine.

    Raises:
        ValueError: It is, or contains, a pipe, a device or a socket, which may never end.
    """
    if os.path.isdir(source):
        shutil.copytree(source, path, dirs_exist_ok=True, copy_function=_copy_file)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(source, str(path))


def _copy_file(source: str, path: str) -> None:
    if not stat.S_ISREG(os.stat(source).st_mode):
        raise ValueError(f"path [{source}] is {_SPECIAL}")
    shutil.copy2(source, path)


def _primitive(primitive: literals_pb2.Primitive) -> tuple[str, Any]:
    """A primitive as the text of its file and as its value in inputs.json."""
    match primitive.WhichOneof("value"):
        case "integer":
            return str(primitive.integer), primitive.integer
        case "float_value":
            return gotext.float_text(primitive.float_value), primitive.float_value
        case "boolean":
            return ("true" if primitive.boolean else "false"), primitive.boolean
        case "string_value":
            return primitive.string_value, primitive.string_value
        case "datetime":
            moment = gotext.time_text(primitive.datetime.seconds, primitive.datetime.nanos)
            return moment, moment
        case "duration":
            nanoseconds = primitive.duration.ToNanoseconds()
            return go_duration(nanoseconds), nanoseconds
    return "null", None


async def upload(run: TaskAttempt, config: tasks_pb2.DataLoadingConfig, blobs: Blobs) -> None:
    """Read the declared outputs from their files; what is wrong with them becomes the attempt's error.pb.

    errors: BlobError when the store does not take them
    source: flytecopilot Uploader.RecursiveUpload
    """
    declared = run.task.interface.outputs.variables
    if not declared:
        return
    folder = run.directory / DIRECTORY / "outputs"
    outputs = literals_pb2.LiteralMap()
    try:
        _check_error_file(folder / "_ERROR")
        for name in sorted(declared):
            outputs.literals[name].CopyFrom(await _output(run, name, declared[name].type, folder, blobs))
    except (_UploadFailed, OSError) as error:
        # Parity: no origin is set, so the error's kind is UNKNOWN (RootOptions.UploadError).
        document = errors_pb2.ErrorDocument(
            error=errors_pb2.ContainerError(
                code="OutputUploadFailed", message=str(error), kind=errors_pb2.ContainerError.RECOVERABLE
            )
        )
        await blobs.write(f"{run.output_prefix}/error.pb", document.SerializeToString())
        return
    await blobs.write(f"{run.output_prefix}/outputs.pb", outputs.SerializeToString())


def _check_error_file(path: Path) -> None:
    if not path.exists():
        return
    if stat.S_ISDIR(_checked(path, path.parent).st_mode):
        raise _UploadFailed("error file is a directory")
    if path.stat().st_size > _ERROR_BYTES_MAX:
        raise _UploadFailed(f"error file too large {path.stat().st_size}")
    raise _UploadFailed(f"User Error: {path.read_text(errors='replace')}")


async def _output(
    run: TaskAttempt, name: str, kind: types_pb2.LiteralType, folder: Path, blobs: Blobs
) -> literals_pb2.Literal:
    match kind.WhichOneof("type"):
        case "simple":
            path = _present(folder, name)
            if path.is_dir():
                shown = types_pb2.SimpleType.Name(kind.simple)
                raise _UploadFailed(f"expected file for type [{shown}], found dir at path [{path}]")
            if path.stat().st_size > _PRIMITIVE_BYTES_MAX:
                raise _UploadFailed(
                    f"maximum allowed filesize is [{_PRIMITIVE_BYTES_MAX}], but found [{path.stat().st_size}]"
                )
            try:
                return parse_simple(kind.simple, path.read_text())
            except (ValueError, json_format.ParseError) as error:
                raise _UploadFailed(f"output [{name}]: {error}") from error
        case "blob":
            return await _upload_blob(_present(folder, name), f"{run.raw_output_prefix}/{name}", folder, blobs)
    raise _UploadFailed(
        f"currently CoPilot uploader does not support [{kind.WhichOneof('type')}] of output [{name}], system error"
    )


def _present(folder: Path, name: str) -> Path:
    """Return the output itself, or the only file or directory that has its name and an extension.

    Raises:
        _UploadFailed: There is none, or it is not usable (`_checked`).
    """
    path = folder / name
    if not path.exists():
        others = sorted(path.parent.glob(f"{path.name}.*")) if path.parent.is_dir() else []
        if len(others) != 1:
            raise _UploadFailed(f"file not found at path [{path}]: no such file or directory")
        path = others[0]
    _checked(path, folder)
    return path


def _checked(path: Path, folder: Path) -> os.stat_result:
    """Return the status of a file or directory that the container left among its outputs.

    Args:
        path: The entry.
        folder: The directory for outputs. It was made by this server, in a directory that may be a link.

    Raises:
        _UploadFailed: It is a link out of the folder, or a pipe, a device or a socket, which may never end.
    """
    # The container may have replaced the folder itself by a link.
    outputs = os.path.join(os.path.realpath(folder.parent), folder.name)
    real = os.path.realpath(path)
    if not real.startswith(outputs + os.sep):
        raise _UploadFailed(f"path [{path}] is a link to [{real}], which does not lie in the output directory")
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise _UploadFailed(f"path [{path}] is {_SPECIAL}")
    return status


async def _upload_blob(path: Path, uri: str, folder: Path, blobs: Blobs) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    files = await asyncio.to_thread(_files_below, path, folder)
    literal.scalar.blob.uri = uri
    literal.scalar.blob.metadata.type.dimensionality = (
        types_pb2.BlobType.SINGLE if files == [path] else types_pb2.BlobType.MULTIPART
    )
    if uri.startswith("/"):
        # The directory of a user's own raw data prefix need not lie in this server's storage.
        await asyncio.to_thread(_copy, str(path), Path(uri))
        return literal
    # Deviates: files in directories below are uploaded too; upstream leaves them out with a warning.
    for file in files:
        target = uri if file == path else f"{uri}/{file.relative_to(path).as_posix()}"
        await blobs.write(target, await asyncio.to_thread(file.read_bytes))
    return literal


def _files_below(path: Path, folder: Path) -> list[Path]:
    """Return an output that is a file, or all files of one that is a directory, those behind links included.

    Raises:
        _UploadFailed: An entry may not be uploaded, or links to directories lie behind each other, as in a loop.
    """
    if not path.is_dir():
        return [path]
    files: list[Path] = []
    top = os.path.realpath(path)
    for place, directories, names in os.walk(path, followlinks=True):
        behind_link = os.path.realpath(place) != os.path.normpath(os.path.join(top, os.path.relpath(place, path)))
        for entry in (Path(place, name) for name in directories):
            _checked(entry, folder)
            if entry.is_symlink() and behind_link:
                raise _UploadFailed(f"path [{entry}] is a link to a directory behind another such link")
        files += (entry for name in names if stat.S_ISREG(_checked(entry := Path(place, name), folder).st_mode))
    return sorted(files)


def parse_simple(kind: types_pb2.SimpleType.ValueType, text: str) -> literals_pb2.Literal:
    """The literal that the text of an output file stands for.

    errors: ValueError, json_format.ParseError
    source: flyteidl coreutils.MakeLiteralForSimpleType
    """
    text = text.strip(" \n\t")
    literal = literals_pb2.Literal()
    scalar = literal.scalar
    match kind:
        case types_pb2.STRUCT:
            json_format.Parse(text, scalar.generic)
        case types_pb2.BINARY:
            scalar.binary.value = text.encode()
            scalar.binary.tag = "msgpack"
        case types_pb2.ERROR:
            scalar.error.message = text
        case types_pb2.NONE:
            scalar.none_type.SetInParent()
        case types_pb2.INTEGER:
            scalar.primitive.integer = gotext.parse_integer(text)
        case types_pb2.FLOAT:
            scalar.primitive.float_value = gotext.parse_float(text)
        case types_pb2.BOOLEAN:
            scalar.primitive.boolean = gotext.parse_boolean(text)
        case types_pb2.STRING:
            scalar.primitive.string_value = text
        case types_pb2.DURATION:
            scalar.primitive.duration.FromNanoseconds(gotext.parse_duration(text))
        case types_pb2.DATETIME:
            scalar.primitive.datetime.FromDatetime(gotext.parse_time(text))
        case _:
            raise ValueError(f"unsupported type {types_pb2.SimpleType.Name(kind)}")
    return literal
