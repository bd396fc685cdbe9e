"""Hostile and mistaken ImageSpecs, files of requirements and archives: refused at once, with the reason."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from app.engine.local.processes.environments import archives, checks
from app.engine.local.processes.environments.archives import requirements_of
from app.engine.local.processes.environments.checks import RequirementRefused
from app.engine.local.processes.environments.choice import NoEnvironment
from tests.engine.local.processes.environments.test_images import DESCRIBED, archive, chosen, described


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"requirements": ["-e ."]}, r"requirement \[-e \.\]: .* packages, by name or address"),
        ({"requirements": ["-r /etc/passwd"]}, r"requirement \[-r /etc/passwd\]"),
        ({"requirements": ["--requirement=/etc/passwd"]}, r"requirement \[--requirement=/etc/passwd\]"),
        ({"requirements": ["-cother.txt"]}, r"requirement \[-cother\.txt\]"),
        ({"requirements": ["six\n-e /etc"]}, "has control characters"),
        ({"requirements": ["six\0"]}, "has control characters"),
        ({"requirements": ["six"] * 1001}, r"1001 lines .* engine\.local\.environments\.packagesMax"),
        ({"flytekit": "1.0\n-e /etc"}, "has control characters"),
        ({"python": "--help"}, r"python_version \[--help\] is no version such as 3\.12"),
        ({"python": "/bin/sh"}, "is no version"),
        ({"python": "3.12; rm"}, "is no version"),
        ({"arguments": "--target /etc"}, r"option \[--target\] is not supported"),
        ({"arguments": "--python=/usr/bin/python3"}, r"option \[--python\] is not supported"),
        ({"arguments": "--system"}, r"option \[--system\] is not supported"),
        ({"arguments": "-p/usr/bin/python3"}, "is not supported"),
        ({"arguments": "--index-url --target /etc"}, r"option \[--index-url\] has no value"),
        ({"arguments": "--find-links"}, "has no value"),
        ({"arguments": "--pre six"}, r"\[six\] is no option"),
        ({"arguments": "'"}, "cannot be read"),
        ({"index": "https://a\0b"}, "has control characters"),
        ({"extra_indexes": ["https://a b"]}, "has a blank"),
        ({"extra_indexes": 7}, "cannot be read"),
        ({"env": ["A=1"]}, "cannot be read"),
        ({"ignored": 7}, "cannot be read"),
        ({"requirements": {}, "python": None}, "is no version"),
    ],
)
def test_an_image_specification_that_asks_for_more_than_packages_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    image = described(tmp_path, json.dumps({**DESCRIBED, **change}).encode())
    with pytest.raises(NoEnvironment, match=words):
        chosen(tmp_path, image)


def test_a_description_nested_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoEnvironment, match="cannot be read"):
        chosen(tmp_path, described(tmp_path, b"[" * 200_000))


def test_options_that_choose_packages_and_where_they_come_from_are_kept() -> None:
    given = ("--pre", "--extra-index-url", "https://a", "--index-strategy=unsafe-best-match", "--no-deps")
    assert checks.arguments(given) == given
    lines = (
        "six==1.17.0 \\",
        "--hash=sha256:00",
        "--extra-index-url https://a",
        "git+https://host/x.git",
        "a @ https://b",
    )
    assert checks.lines(lines, 10) == lines
    for version in ("", "3", "3.12", "3.12.1"):
        assert checks.python_version(version) == version


@pytest.mark.parametrize(
    "line",
    [
        "--pre -r /etc/passwd",
        "--pre -e.",
        "six -r x",
        "six\u2028-r x",
        "six\x85--pre",
        "six\u2029",
        "--pre --target=/x",
    ],
)
def test_no_option_hides_behind_another_word_or_end_of_line(line: str) -> None:
    with pytest.raises(RequirementRefused):
        checks.lines([line], 10)


def test_options_of_one_requirement_and_comments_are_kept() -> None:
    lines = ("six --hash=sha256:00 --config-settings=a=b", "six ; python_version < '3' # -r x", "a @ file:///b-r")
    assert checks.lines(lines, 10) == lines


def test_requirements_of_uploaded_code_may_name_the_code_itself_but_no_other_files(
    tmp_path: Path,
) -> None:
    command = archive(tmp_path, {"requirements.txt": "-e .\nsix\n", "setup.py": ""})
    found = chosen(tmp_path, "", *command).wanted
    assert found is not None
    assert found.requirements[0] == "six"
    other = tmp_path / "other"
    with pytest.raises(NoEnvironment, match=r"requirements of the task: .*\[-r dev\.txt\]"):
        chosen(other, "", *archive(other, {"requirements.txt": "-r dev.txt\n"}))


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as made:
        for member, content in members:
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def test_only_a_file_at_the_root_counts() -> None:
    link = member("requirements.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    hard = member("pyproject.toml", type=tarfile.LNKTYPE, linkname="x.txt")
    up = member("../requirements.txt"), b"six"
    root = member("/requirements.txt"), b"six"
    assert requirements_of(packed((link, b""), (hard, b""), up, root)) == ()
    with pytest.raises(ValueError, match=r"requirements\.txt has more than"):
        requirements_of(packed((member("requirements.txt"), b"#" * 2_000_000)))
    with pytest.raises(ValueError, match="codec can't decode"):
        requirements_of(packed((member("requirements.txt"), b"\xff\xfe\x00")))


@pytest.mark.slow
def test_an_archive_that_unpacks_to_very_much_is_searched_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_UNPACKED_BYTES_MAX", 50 * 1024 * 1024)
    bomb = io.BytesIO()
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        first = member("zeros")
        first.size = 10 * 1024**4
        file.write(first.tobuf())
        for _ in range(200):
            file.write(bytes(1024 * 1024))
    began = time.monotonic()
    assert requirements_of(bomb.getvalue()) == ()
    # An extended header of 200 MB is not read into memory.
    header = io.BytesIO()
    with gzip.open(header, "wb", compresslevel=1) as file:
        extended = member("pax", type=tarfile.XHDTYPE)
        extended.size = 200 * 1024**2
        file.write(extended.tobuf())
        for _ in range(200):
            file.write(bytes(1024 * 1024))
    assert requirements_of(header.getvalue()) == ()
    assert time.monotonic() - began < 20


def test_an_archive_of_very_many_files_is_searched_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MEMBERS_MAX", 100)
    many = [(member(f"f{number}"), b"") for number in range(200)]
    assert requirements_of(packed(*many, (member("requirements.txt"), b"six"))) == ()
    assert requirements_of(packed(*many[:50], (member("requirements.txt"), b"six"))) == ("six",)


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00" + b"x" * 100, b"PK\x03\x04zip", bytes(1024)])
def test_what_is_no_archive_has_no_requirements(data: bytes) -> None:
    assert requirements_of(data) == ()
    whole = packed((member("requirements.txt"), b"six"), (member("rest"), b"x" * 10_000))
    requirements_of(whole[: len(whole) // 2])


def test_refusals_are_values_that_cannot_be_used() -> None:
    with pytest.raises(RequirementRefused, match="no version"):
        checks.python_version("python3")
