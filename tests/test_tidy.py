"""The style of the code, held by tests: import order, lengths, what may not be called or left behind."""

from __future__ import annotations

import ast
import io
import re
import runpy
import subprocess
import tokenize
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(p for p in (ROOT / "app").rglob("*.py") if "routers" not in p.parts)
SERVICES = [path for path in SOURCES if ROOT / "app/services" in path.parents]
OTHERS = sorted([*(ROOT / "openapi").rglob("*.py"), *(ROOT / "alembic").rglob("*.py")])

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500

# A module may import its own rank and lower ones, never a higher one (docs/architecture.md, "Packages").
RANKS: tuple[tuple[str, ...], ...] = (
    ("app.errors", "app.system", "app.cache", "app.last_error", "app.limited_log", "app.bundled", "app.settings"),
    ("app.wire",),
    ("app.compiler", "app.blobs", "app.engine.port", "app.database"),
    ("app.query", "app.runtime", "app.auth"),
    ("app.services",),
    ("app.engine", "app.background"),
    ("app.api", "app.mcp"),
    ("app.main", "app.server"),
    ("app.cli",),
)
LOCAL_ENGINE = "app.engine.local"
# From the lowest rank to the highest.
ENGINE_ROOMS = ("execution_error", "processes", "connectors", "host", "graph", "nodes", "")
BANNED = {
    r"\bprint\(": "say it with structlog; commands print through Rich",
    r"\bdatetime\.utcnow\(": "datetime.now(UTC)",
    r"\btime\.sleep\(": "asyncio.sleep, or a wait with a deadline",
    r"\bXXX\b|\bTODO\b|\bFIXME\b": "finish it, or leave it out",
    r"except Exception:\s*\n\s*pass\b": "an error that is swallowed is a bug that is hidden",
}
LINUX_ONLY = re.compile(
    r"^/proc\b|^/sys/(?:fs|kernel|class)|/dev/shm|pidfd|prctl|\bprlimit|sched_[gs]etaffinity|memfd|eventfd|signalfd"
    r"|inotify|getrandom|\bepoll|\bEPOLL|F_SETPIPE|SO_PEERCRED|SO_ATTACH|\bos\.splice|CLONE_NEW|unshare|setns"
    r"|\bctypes\b|sys\.platform|platform\.system|os\.uname"
)
MAY_SLEEP = {
    "app/engine/local/processes/forkserver",
    "app/database/migrations.py",
    "app/cli/terminal",
    "app/cli/sign_in",
}
MAY_PRINT = {"app/engine/local/processes/forkserver", "app/cli/terminal"}


# Code returns, receives, logs, stores, raises, deletes and runs; it has no mouth, no ears and no legs.
METAPHORS = re.compile(
    r"\b(?:tells?|told|telling|hears?|heard|hearing|speaks?|spoken?|speaking|knows|knew|minds?|bury|buries|buried"
    r"|goes|gone|went|says?|said)\b|(?:^|[.:]\s)(?:What|Whoever|Whatever|That which)\s(?!if\b)"
)


def rank_of(module: str) -> int | None:
    """The rank of the longest listed prefix of a module."""
    best: tuple[int, int] | None = None
    for rank, prefixes in enumerate(RANKS):
        for prefix in prefixes:
            if (module == prefix or module.startswith(prefix + ".")) and (best is None or len(prefix) > best[1]):
                best = (rank, len(prefix))
    return best[0] if best else None


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(tree: ast.Module, *, everywhere: bool = False) -> set[str]:
    """Return our modules that a module imports at its top level; everywhere: also in functions and for types."""
    found: set[str] = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("app")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("app"):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file, which several rules read."""
    return ast.parse(path.read_text())


def test_imports_point_one_way() -> None:
    wrong = []
    for module, path in ((module_of(path), path) for path in SOURCES):
        own = rank_of(module)
        if own is None and module != "app":
            wrong.append(f"{module} has no rank in tests/test_tidy.py")
            continue
        for imported in imports_of(tree_of(path)):
            other = rank_of(imported)
            if own is not None and other is not None and other > own:
                wrong.append(f"{module} (rank {own}) imports {imported} (rank {other})")
    assert not wrong, "\n".join(wrong)


def modules_imported() -> dict[str, set[str]]:
    """Map each module to those that it imports anywhere: in functions and for type checkers too."""
    modules = {module_of(path): path for path in (ROOT / "app").rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        imported = imports_of(tree_of(path), everywhere=True)
        graph[module] = {one if one in modules else one.rpartition(".")[0] for one in imported} & modules.keys()
        graph[module].discard(module)
    return graph


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(modules_imported()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def engine_rank(module: str) -> int:
    """Return the rank of a module's room in the local engine; modules beside the rooms have the highest."""
    room = module.removeprefix(LOCAL_ENGINE).lstrip(".").partition(".")[0]
    return ENGINE_ROOMS.index(room if room in ENGINE_ROOMS else "")


def test_no_module_of_the_local_engine_imports_a_higher_room() -> None:
    upward = [
        (module, imported)
        for module, others in modules_imported().items()
        for imported in others
        if module.startswith(LOCAL_ENGINE)
        and imported.startswith(f"{LOCAL_ENGINE}.")
        and engine_rank(imported) > engine_rank(module)
    ]
    assert upward == []


def test_the_page_of_deviations_is_current() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "deviations.py"))["page"]()
    assert page == (ROOT / "docs" / "deviations.md").read_text(), "run `make generate`"


def prose_of(path: Path) -> list[str]:
    """Return the docstrings and comments of a module."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found = [ast.get_docstring(node) or "" for node in ast.walk(tree_of(path)) if isinstance(node, documented)]
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    return found + [comment.string.lstrip("# ") for comment in comments]


def test_docstrings_and_comments_use_no_metaphors() -> None:
    """No exceptions are left: a sentence with one of these words names who does what instead."""
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]!r} in {prose!r}"
        for path in (*SOURCES, *OTHERS)
        for prose in prose_of(path)
        for match in METAPHORS.finditer(prose)
    ]
    assert not wrong, "\n".join(wrong)


def test_classes_of_different_modules_have_different_names() -> None:
    """Sections of settings and models of pages and tools are named after what they configure or show."""
    modules: dict[str, list[str]] = {}
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        if name.startswith("app/settings/") or name.endswith("models.py"):
            continue
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules.setdefault(node.name, []).append(name)
    assert {name: found for name, found in modules.items() if len(found) > 1} == {}


def test_functions_and_files_are_short() -> None:
    wrong = []
    for path in (*SOURCES, *OTHERS):
        name, lines = path.relative_to(ROOT), len(path.read_text().splitlines())
        if lines > FILE_LINES_MAX:
            wrong.append(f"{name} has {lines} lines")
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    wrong.append(f"{node.name} in {name} has {length} lines")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_left_behind() -> None:
    wrong = []
    for path in SOURCES:
        text, name = path.read_text(), str(path.relative_to(ROOT))
        for pattern, instead in BANNED.items():
            if "sleep" in pattern and any(name.startswith(one) for one in MAY_SLEEP):
                continue
            if "print" in pattern and any(name.startswith(one) for one in MAY_PRINT):
                continue
            if re.search(pattern, text):
                wrong.append(f"{pattern} in {name}: {instead}")
    assert not wrong, "\n".join(wrong)


def test_requests_of_one_operating_system_stand_in_one_package() -> None:
    """app/system has a portable twin of each; see docs/local-engine.md."""
    wrong = []
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        if name.startswith("app/system/"):
            continue
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree_of(path))
            if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree_of(path)):
            word = ""
            if isinstance(node, ast.Attribute):
                word = f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else node.attr
            elif isinstance(node, ast.Import | ast.ImportFrom):
                word = " ".join(alias.name for alias in node.names)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                word = node.value
            if LINUX_ONLY.search(word):
                wrong.append(f"{name}:{getattr(node, 'lineno', 0)}: {word[:60]!r} belongs into app/system")
    assert not wrong, "\n".join(wrong)


def test_services_never_commit_and_never_ask_the_clock() -> None:
    wrong = []
    for path in SERVICES:
        text = path.read_text()
        if re.search(r"\bCOMMIT\b|\.commit\(|unit_of_work\(", text):
            wrong.append(f"{path.relative_to(ROOT)} commits, which the edge does")
        # version.py tells when the process started, once.
        if path.name != "version.py" and re.search(r"datetime\.now\(|time\.time\(", text):
            wrong.append(f"{path.relative_to(ROOT)} asks the clock: ctx.now is the only one of a request")
    assert not wrong, "\n".join(wrong)


def test_public_service_functions_say_what_they_do() -> None:
    wrong = []
    for path in SERVICES:
        for node in tree_of(path).body:
            if not isinstance(node, ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            if [a.arg for a in node.args.args] == ["ctx", "request"] and not ast.get_docstring(node):
                wrong.append(f"{node.name} in {path.relative_to(ROOT)} has no docstring")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_the_repository_speaks_of_the_product_alone() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    words = re.compile(r"(?<![\w/])/(?:work/\w|root/\w+/bin|farm/)|\bsub-?agents?\b|\bhelper[- ]session", re.IGNORECASE)
    for name in listed:
        path = ROOT / name
        if (
            not name
            or not path.is_file()
            or path.suffix in (".pb", ".gz", ".tgz", ".png")
            or name == "tests/test_tidy.py"
        ):
            continue
        if name.startswith(("tests/conformance/cases", "tests/sample")):
            continue
        found = words.search(path.read_text(errors="replace"))
        assert found is None, f"{name}: {found.group(0) if found else ''}"
