"""Check the requirements of ImageSpecs, files and archives before they are given to the installer.

Tasks are programs of their authors, who may install any package into an environment of their own. These checks keep a
mistake from changing other environments or the server's files, and refuse at once a request that cannot work here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

_PYTHON = re.compile(r"[23](\.\d{1,3}){0,2}", re.ASCII)
# With the characters at which pip ends a line.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
# Options whose value is the next word, unless it follows behind `=`.
_WITH_VALUE = frozenset(
    {
        *("--index-url", "-i", "--extra-index-url", "--default-index", "--index", "--find-links", "-f"),
        *("--trusted-host", "--allow-insecure-host", "--no-binary", "--only-binary", "--no-build-package"),
        *("--index-strategy", "--prerelease", "--resolution", "--keyring-provider", "--exclude-newer"),
        *(
            "--timeout",
            "--retries",
            "--upgrade-package",
            "-P",
            "--no-build-isolation-package",
            "--config-setting",
            "-C",
        ),
    }
)
_ALONE = frozenset(
    {
        *("--pre", "--no-index", "--no-deps", "--prefer-binary", "--require-hashes", "--no-build-isolation"),
        *("--upgrade", "-U", "--no-cache", "--no-cache-dir", "--refresh", "--no-build", "--quiet", "-q", "--verbose"),
        *("-v", "--no-warn-script-location", "--disable-pip-version-check", "--no-input", "--system-certs"),
        *("--native-tls", "--no-verify-hashes", "--verify-hashes", "--no-compile", "--compile-bytecode"),
    }
)
# Options of a line in a file of requirements.
_IN_LINES = frozenset(
    {
        *("--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--no-index", "--pre", "--no-binary"),
        *("--only-binary", "--prefer-binary", "--trusted-host", "--require-hashes", "--hash"),
        *("--config-settings", "--config-setting", "--global-option"),
    }
)


class RequirementRefused(ValueError):
    """Something cannot be installed here. The message names it."""


def python_version(version: str) -> str:
    """Return a version of Python such as 3.12; "" for any. Raises RequirementRefused for another text."""
    if version and not _PYTHON.fullmatch(version):
        raise RequirementRefused(f"python_version [{version[:40]}] is no version such as 3.12")
    return version


def arguments(words: Sequence[str]) -> tuple[str, ...]:
    """Return further arguments of `pip install` that change only where packages come from and which are taken.

    Raises:
        RequirementRefused: An argument could install elsewhere than into the environment, or is unknown.
    """
    rest = iter(words)
    for word in rest:
        _check_text("argument", word)
        name, equals, _ = word.partition("=")
        if name in _WITH_VALUE and not equals:
            if next(rest, "-").startswith("-"):
                raise RequirementRefused(f"pip_extra_args: option [{name}] has no value")
        elif not word.startswith("-"):
            raise RequirementRefused(f"pip_extra_args: [{word[:80]}] is no option; packages belong into `packages`")
        elif name not in _WITH_VALUE and word not in _ALONE:
            raise RequirementRefused(f"pip_extra_args: option [{name[:80]}] is not supported by flyteadmin")
    return tuple(words)


def lines(found: Sequence[str], lines_max: int) -> tuple[str, ...]:
    """Return the lines of a file of requirements.

    Args:
        found: The lines.
        lines_max: The largest number of them (engine.local.environments.packagesMax).

    Raises:
        RequirementRefused: There are too many, or one names a file that is not on this machine, or an unknown option.
    """
    if len(found) > lines_max:
        raise RequirementRefused(
            f"{len(found)} lines of requirements are more than engine.local.environments.packagesMax"
        )
    for line in found:
        _check_text("requirement", line)
        # pip reads several options of one line, such as `--pre -r FILE`.
        words = itertools.takewhile(lambda word: not word.startswith("#"), line.split())
        if any(word.startswith("-") and word.partition("=")[0] not in _IN_LINES for word in words):
            raise RequirementRefused(
                f"requirement [{line[:80]}]: flyteadmin makes an environment of packages, by name or address; it has "
                "no files of the folder in which the image was described"
            )
    return tuple(found)


def address(text: str) -> str:
    """Return the address of a package index. Raises RequirementRefused for control characters and blanks."""
    _check_text("index", text)
    if " " in text:
        raise RequirementRefused("the address of a package index has a blank")
    return text


def _check_text(kind: str, text: str) -> None:
    if _CONTROL.search(text):
        raise RequirementRefused(f"{kind} [{text[:80]!r}] has control characters")
