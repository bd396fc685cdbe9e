"""Workflows for the console's tests: every literal type in forms and outputs, and strings that attack a page."""

import enum
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pandas
from flytekit import CronSchedule, Deck, FixedRate, LaunchPlan, current_context, map_task, task, workflow
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset

# Larger than the integers that JavaScript's numbers hold.
INTEGER = 9_007_199_254_740_993
WHEN = datetime(2026, 2, 28, 23, 59, 59, 123_456, tzinfo=UTC)
MARKUP = "<img src=x onerror=\"document.title='attacked'\"><script>document.title='attacked'</script>"
LINK = "javascript:document.title='attacked'"


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Layer:
    width: int = INTEGER
    dropout: float = 0.5
    names: list[str] = field(default_factory=lambda: ["a", "b"])


@dataclass
class Model:
    name: str = "net"
    layers: list[Layer] = field(default_factory=lambda: [Layer()])
    by_name: dict[str, Layer] = field(default_factory=dict)
    comment: str | None = None


class Values(NamedTuple):
    integer: int
    number: float
    text: str
    flag: bool
    when: datetime
    how_long: timedelta
    size: Size
    maybe: int | None
    either: int | str
    many: list[list[int]]
    by_name: dict[str, float]
    anything: dict
    model: Model
    file: FlyteFile
    folder: FlyteDirectory
    table: StructuredDataset


@task(enable_deck=True)
def make(
    integer: int,
    number: float,
    text: str,
    flag: bool,
    when: datetime,
    how_long: timedelta,
    size: Size,
    maybe: int | None,
    either: int | str,
    many: list[list[int]],
    by_name: dict[str, float],
    anything: dict,
    model: Model,
) -> Values:
    """Return the given values, and a file, a folder and a table.

    Two paragraphs, so that pages have a long description to show.
    """
    root = Path(current_context().working_directory)
    (root / "report.md").write_text(f"# Report\n\n* integer: {integer}\n* text: {text}\n")
    folder = root / "folder"
    folder.mkdir()
    (folder / "words.txt").write_text("one\ntwo\n")
    frame = pandas.DataFrame({"x": [1, 2, 3], "name": ["a", "b", text]})
    Deck("numbers", "<table><tr><td>1</td><td>2</td></tr></table>")
    return Values(
        integer=integer,
        number=number,
        text=text,
        flag=flag,
        when=when,
        how_long=how_long,
        size=size,
        maybe=maybe,
        either=either,
        many=many,
        by_name=by_name,
        anything=anything,
        model=model,
        file=FlyteFile(str(root / "report.md")),
        folder=FlyteDirectory(str(folder)),
        table=StructuredDataset(dataframe=frame),
    )


@workflow
def every_type(
    integer: int = INTEGER,
    number: float = 0.1,
    text: str = "Zoë said “hello”",
    flag: bool = True,
    when: datetime = WHEN,
    how_long: timedelta = timedelta(hours=1, milliseconds=1),
    size: Size = Size.LARGE,
    maybe: int | None = None,
    either: int | str = "seven",
    many: list[list[int]] = [[1, INTEGER], []],  # noqa: B006
    by_name: dict[str, float] = {"a/b": 0.5, "c d": 1e300},  # noqa: B006
    anything: dict = {"a": [1, {"b": None}]},  # noqa: B006
    model: Model = Model(),  # noqa: B008
) -> Values:
    """Every literal type in and out, with defaults, so that a form of it can be sent as it is."""
    return make(
        integer=integer,
        number=number,
        text=text,
        flag=flag,
        when=when,
        how_long=how_long,
        size=size,
        maybe=maybe,
        either=either,
        many=many,
        by_name=by_name,
        anything=anything,
        model=model,
    )


@task
def seen(
    words: list[str],
    tables: dict[str, dict[str, int]],
    file: FlyteFile,
    folder: FlyteDirectory,
    table: pandas.DataFrame,
) -> int:
    return len(words) + len(tables) + len(table)


@workflow
def required(
    words: list[str],
    tables: dict[str, dict[str, int]],
    file: FlyteFile,
    folder: FlyteDirectory,
    table: pandas.DataFrame,
) -> int:
    """Inputs without defaults, which a form has to ask for."""
    return seen(words=words, tables=tables, file=file, folder=folder, table=table)


@task(enable_deck=True)
def attack(text: str) -> tuple[str, FlyteFile]:
    """<b>bold</b> docstring with <script>document.title='attacked'</script>."""
    print(text)  # noqa: T201
    print(f"\x1b[31m{MARKUP}\x1b[0m \x1b]8;;{LINK}\x07link\x1b]8;;\x07 \u202etxet")  # noqa: T201
    Deck(MARKUP, f"{MARKUP}<script>parent.document.title='attacked'; top.location='about:blank'</script>")
    path = Path(current_context().working_directory) / "attack.html"
    path.write_text(f"<!doctype html><script>document.title='attacked'</script>{MARKUP}")
    return text, FlyteFile(str(path))


@task
def fail_with(text: str) -> None:
    raise ValueError(text)


@workflow
def hostile(text: str = MARKUP) -> tuple[str, FlyteFile]:
    """<i>Markup</i> in the description, inputs, log, deck and outputs."""
    return attack(text=text)


@workflow
def hostile_failure(text: str = MARKUP) -> None:
    """The same in an error."""
    fail_with(text=text)


@task(container_image="registry.example/team/own:1")
def needs_own_image() -> None:
    raise ModuleNotFoundError("No module named 'torch'")


@workflow
def own_image() -> None:
    """A task of an image that this server does not know, which fails for want of a package."""
    needs_own_image()


@task
def make_two_large() -> tuple[str, str]:
    return f"{MARKUP} " * 70_000, f"{MARKUP} " * 70_000


@workflow
def stored_apart() -> tuple[str, str]:
    """Outputs that are stored as objects of their own; a reply has room for the contents of one only."""
    return make_two_large()


@task
def talk(lines: int, seconds: float) -> int:
    """Print numbered lines, evenly over some seconds."""
    for number in range(lines):
        print(f"line {number} of {lines}", flush=True)  # noqa: T201
        time.sleep(seconds / lines)
    return lines


@workflow
def talking(lines: int = 20, seconds: float = 10.0) -> int:
    """A task whose log grows while somebody looks at it."""
    return talk(lines=lines, seconds=seconds)


@task
def half_of(x: int) -> int:
    print(f"index of {x}")  # noqa: T201
    if x % 5 == 3:
        raise ValueError(f"{x} is not wanted")
    return x // 2


@task
def count_up_to(n: int) -> list[int]:
    return list(range(n))


@workflow
def some_fail(n: int = 20) -> list[int | None]:
    """A map of which a fifth fails."""
    return map_task(half_of, min_success_ratio=0.5)(x=count_up_to(n=n))


@workflow
def most_fail(n: int = 20) -> list[int | None]:
    """A map that fails."""
    return map_task(half_of, min_success_ratio=0.9)(x=count_up_to(n=n))


@task
def nap(seconds: float) -> None:
    time.sleep(seconds)


@workflow
def long_nap(seconds: float = 3600.0) -> None:
    """A task that runs until it is terminated."""
    nap(seconds=seconds)


nightly = LaunchPlan.get_or_create(
    talking,
    name="shown.nightly",
    schedule=CronSchedule(schedule="0 3 * * *"),
    default_inputs={"lines": 3, "seconds": 0.1},
)
often = LaunchPlan.get_or_create(
    talking, name="shown.often", schedule=FixedRate(timedelta(hours=6)), fixed_inputs={"lines": 2, "seconds": 0.1}
)
