"""Writes docs/deviations.md: a line for each `Deviates:` in docstrings and comments of the code."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "deviations.md"

HEAD = """# Where this server differs from flyteadmin v1.16.8 on purpose

`make generate` writes this page from the code: each entry is a docstring or comment that begins with `Deviates:`.
Where a recorded reply of the Go server differs for one of these reasons, `tests/conformance/deviations.yaml` lists the
step.
"""

_MARK = "Deviates:"
# The next section of a docstring ends the text.
_SECTION = re.compile(r"^(?:[A-Z][A-Za-z]+:(?:\s|$)|#? ?(?:Parity|Deviates):)")


def _texts(lines: list[str]) -> Iterator[str]:
    """Yield the text after each mark, up to an empty line or the next section."""
    for start, line in enumerate(lines):
        if _MARK not in line:
            continue
        text = [line.split(_MARK, 1)[1].strip()]
        for further in lines[start + 1 :]:
            if not further.strip() or _SECTION.match(further.strip()):
                break
            text.append(further.strip())
        yield " ".join(part for part in text if part)


def _comment_blocks(source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each run of comment lines with the number of its first line."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if block and line != last + 1:
            yield first, block
            block = []
        if not block:
            first = line
        block.append(token.string.lstrip("#").strip())
        last = line
    if block:
        yield first, block


def deviations_of(source: str) -> list[tuple[str, str]]:
    """Return (name of the function or class, text) for each deviation of a module, in the order of its lines."""
    tree = ast.parse(source)
    named = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    found: list[tuple[int, str, str]] = []
    for node in [tree, *named]:
        line, name = (0, "") if isinstance(node, ast.Module) else (node.lineno, node.name)
        found += [(line, name, text) for text in _texts((ast.get_docstring(node) or "").splitlines())]
    for line, block in _comment_blocks(source):
        around = [n for n in named if n.lineno <= line <= (n.end_lineno or 0)]
        name = min(around, key=lambda n: (n.end_lineno or 0) - n.lineno).name if around else ""
        found += [(line, name, text) for text in _texts(block)]
    return [(name, text) for _, name, text in sorted(found)]


def page() -> str:
    """Return the text of docs/deviations.md."""
    parts = [HEAD]
    for path in sorted((ROOT / "app").rglob("*.py")):
        if found := deviations_of(path.read_text()):
            parts.append(f"\n## {path.relative_to(ROOT)}\n\n")
            parts += [f"- {f'`{name}`: ' if name else ''}{text}\n" for name, text in found]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
