"""Flyte's copilot for raw containers: it writes inputs to files before the task, and reads outputs from files after it.

The input and output directories of the container are directories of the attempt here. Their paths in the command and
in variables are replaced. Proto: flyteidl/core/tasks.proto DataLoadingConfig.
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
from app.engine.local.processes.forkserver import layout
from app.engine.local.processes.task_attempt import StartFailed, TaskAttempt
from app.services import offloading
from app.settings import Settings
from app.wire.go import gotext
from app.wire.go.goparse import go_duration

INPUT_PATH, OUTPUT_PATH = "/var/flyte/inputs", "/var/flyte/outputs"
_PRIMITIVE_BYTES_MAX = 1024
_ERROR_BYTES_MAX = 1024 * 1024
_HTTP_SECONDS_MAX = 60.0
_SPECIAL = "a pipe, a device or a socket; allowed are files and directories"


class _UploadFailed(Exception):
    """An output is missing, has another type, or is not a file. The message is written to error.pb."""


def relocate(
    directory: Path, config: tasks_pb2.DataLoadingConfig, argv: tuple[str, ...], variables: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the command and its variables with the paths of this attempt's input and output directories."""
    here = {
        config.input_path or INPUT_PATH: str(directory / layout.COPILOT / "inputs"),
        config.output_path or OUTPUT_PATH: str(directory / layout.COPILOT / "outputs"),
    }
    # The longer path comes first, since one may contain the other; /var/in must not match in /var/inputs.
    paths = "|".join(re.escape(path.rstrip("/")) for path in sorted(here, key=len, reverse=True))
    pattern = re.compile(rf"(?:{paths})(?![\w.-])")
    replaced = {path.rstrip("/"): new for path, new in here.items()}

    def replace(text: str) -> str:
        return pattern.sub(lambda match: replaced[match.group(0)], text)

    return tuple(map(replace, argv)), {name: replace(value) for name, value in variables.items()}


async def download(attempt: TaskAttempt, config: tasks_pb2.DataLoadingConfig, blobs: Blobs, settings: Settings) -> None:
    """Make the two directories and write the inputs to files.

    Source: flytecopilot Downloader.DownloadInputs.

    Raises:
        StartFailed: An input cannot be written; the message names the task.
        BlobUnavailable: The store does not answer.
    """
    root = attempt.directory / layout.COPILOT
    try:
        literals = literals_pb2.LiteralMap()
        if attempt.task.interface.inputs.variables:
            literals.ParseFromString(await blobs.read(attempt.input_uri, bytes_max=0))
        await offloading.replace_references(settings, blobs, literals)
        for uri, path in await asyncio.to_thread(_lay_out, literals, root, config.format):
            await _fetch(uri, path, blobs)
    except BlobUnavailable:
        # The execution waits for the store; the attempt has not failed.
        raise
    except (OSError, BlobError, DecodeError, httpx.HTTPError, ValueError) as error:
        raise StartFailed(f"inputs of [{attempt.task.id.name}] cannot be laid out as files: {error}") from error


def _lay_out(literals: literals_pb2.LiteralMap, root: Path, form: int) -> list[tuple[str, Path]]:
    """Write literals to files. Return address and path of each file or directory that is still to be copied."""
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
    """Writes literals to files, returns their plain values, and replaces addresses in them by local paths.

    Attributes:
        fetches: Address and path of each file or directory to copy.
    """

    def __init__(self) -> None:
        self.fetches: list[tuple[str, Path]] = []

    def map(self, literals: literals_pb2.LiteralMap, directory: Path) -> dict[str, Any]:
        directory.mkdir(parents=True, exist_ok=True)
        values = {}
        for name, literal in literals.literals.items():
            # A key of a map comes from a user. As a path it could lead out of the directory.
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
                value = _with_integers(json_format.MessageToDict(scalar.generic))
                text = json.dumps(value)
            case "none_type":
                text, value = "null", None
            case _:
                raise ValueError(f"unsupported scalar type [{kind}] for [{path.name}]")
        path.write_text(text)
        return value


def _with_integers(value: Any) -> Any:
    """Return the value with integers in place of whole floats: Go prints 1 where Python prints 1.0."""
    match value:
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
        case list():
            return [_with_integers(element) for element in value]
        case dict():
            return {name: _with_integers(element) for name, element in value.items()}
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
        ValueError: The source is or contains a pipe, a device or a socket. Reading these may never end.
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
    """Return a primitive as the text of its file, and as its value in inputs.json."""
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


async def upload(attempt: TaskAttempt, blobs: Blobs) -> None:
    """Read the declared outputs from their files and write outputs.pb, or error.pb if an output cannot be used.

    Source: flytecopilot Uploader.RecursiveUpload.

    Raises:
        BlobError: The store cannot be written.
    """
    declared = attempt.task.interface.outputs.variables
    if not declared:
        return
    folder = attempt.directory / layout.COPILOT / "outputs"
    outputs = literals_pb2.LiteralMap()
    try:
        _check_error_file(folder / "_ERROR")
        for name in sorted(declared):
            outputs.literals[name].CopyFrom(await _output(attempt, name, declared[name].type, folder, blobs))
    except (_UploadFailed, OSError) as error:
        # Parity: the error has no origin, so its kind is UNKNOWN (RootOptions.UploadError).
        document = errors_pb2.ErrorDocument(
            error=errors_pb2.ContainerError(
                code="OutputUploadFailed", message=str(error), kind=errors_pb2.ContainerError.RECOVERABLE
            )
        )
        await blobs.write(f"{attempt.output_prefix}/error.pb", document.SerializeToString())
        return
    await blobs.write(f"{attempt.output_prefix}/outputs.pb", outputs.SerializeToString())


def _check_error_file(path: Path) -> None:
    if not path.exists():
        return
    if stat.S_ISDIR(_checked(path, path.parent).st_mode):
        raise _UploadFailed("error file is a directory")
    if path.stat().st_size > _ERROR_BYTES_MAX:
        raise _UploadFailed(f"error file too large {path.stat().st_size}")
    raise _UploadFailed(f"User Error: {path.read_text(errors='replace')}")


async def _output(
    attempt: TaskAttempt, name: str, kind: types_pb2.LiteralType, folder: Path, blobs: Blobs
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
            return await _upload_blob(_present(folder, name), f"{attempt.raw_output_prefix}/{name}", folder, blobs)
    raise _UploadFailed(
        f"currently CoPilot uploader does not support [{kind.WhichOneof('type')}] of output [{name}], system error"
    )


def _present(folder: Path, name: str) -> Path:
    """Return the path of an output: its name, or its name with an extension if only one file has that.

    Raises:
        _UploadFailed: There is none, or it cannot be used (`_checked`).
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
        folder: The directory for outputs.

    Raises:
        _UploadFailed: The entry is a link out of the folder, or a pipe, a device or a socket.
    """
    # The container may have replaced the folder itself by a link, so only its parent is resolved. The server made that.
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
        # A user may have chosen a raw data prefix outside the storage of this server.
        await asyncio.to_thread(_copy, str(path), Path(uri))
        return literal
    # Deviates: files in directories below are uploaded too; upstream leaves them out with a warning.
    for file in files:
        target = uri if file == path else f"{uri}/{file.relative_to(path).as_posix()}"
        await blobs.write(target, await asyncio.to_thread(file.read_bytes))
    return literal


def _files_below(path: Path, folder: Path) -> list[Path]:
    """Return the file of an output, or all files below its directory. Links are followed.

    Raises:
        _UploadFailed: An entry may not be uploaded, or a link to a directory lies behind another one, as in a loop.
    """
    if not path.is_dir():
        return [path]
    files: list[Path] = []
    top = os.path.realpath(path)
    for parent, directories, names in os.walk(path, followlinks=True):
        behind_link = os.path.realpath(parent) != os.path.normpath(os.path.join(top, os.path.relpath(parent, path)))
        for entry in (Path(parent, name) for name in directories):
            _checked(entry, folder)
            if entry.is_symlink() and behind_link:
                raise _UploadFailed(f"path [{entry}] is a link to a directory behind another such link")
        files += (entry for name in names if stat.S_ISREG(_checked(entry := Path(parent, name), folder).st_mode))
    return sorted(files)


def parse_simple(kind: types_pb2.SimpleType.ValueType, text: str) -> literals_pb2.Literal:
    """Return the literal for the text of an output file.

    Source: flyteidl coreutils.MakeLiteralForSimpleType.

    Raises:
        ValueError: The text has another type.
        json_format.ParseError: The text of a struct is not JSON.
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
