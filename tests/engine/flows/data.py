"""Workflows that pass every kind of data from task to task; CASES says with which inputs each is run."""

import enum
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from flytekit import ContainerTask, LaunchPlan, current_context, kwtypes, reference_task, task, workflow
from flytekit.core.interface import Interface
from flytekit.core.python_customized_container_task import PythonCustomizedContainerTask
from flytekit.core.shim_task import ShimTaskExecutor
from flytekit.core.task import Echo
from flytekit.exceptions.user import FlyteRecoverableException
from flytekit.extras.tasks.shell import OutputLocation, ShellTask
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile


@task
def write(text: str) -> FlyteFile:
    path = Path(current_context().working_directory) / "written.txt"
    path.write_text(text)
    return FlyteFile(str(path))


@task
def read(file: FlyteFile) -> str:
    with open(file) as opened:
        return opened.read()


@task
def write_folder(words: list[str]) -> FlyteDirectory:
    folder = Path(current_context().working_directory) / "folder"
    for number, word in enumerate(words):
        path = folder / f"at{number}" / "word.txt"
        path.parent.mkdir(parents=True)
        path.write_text(word)
    return FlyteDirectory(str(folder))


@task
def read_folder(folder: FlyteDirectory) -> dict[str, str]:
    root = Path(folder.download())
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.txt")}


@task
def write_several(words: list[str]) -> tuple[list[FlyteFile], dict[str, FlyteFile["txt"]]]:  # noqa: F821
    folder = Path(current_context().working_directory)
    for word in words:
        (folder / f"{word}.txt").write_text(word)
    return [FlyteFile(str(folder / f"{word}.txt")) for word in words], {
        word: FlyteFile(str(folder / f"{word}.txt")) for word in words
    }


@task
def read_several(listed: list[FlyteFile], named: dict[str, FlyteFile["txt"]]) -> str:  # noqa: F821
    found = [Path(one.download()).read_text() for one in listed]
    return json.dumps([found, {key: Path(one.download()).read_text() for key, one in sorted(named.items())}])


@workflow
def files(given: FlyteFile, words: list[str]) -> tuple[str, str, FlyteFile, dict[str, str], FlyteDirectory, str]:
    """Files and folders between tasks, from a client and to it."""
    text = read(file=given)
    written = write(text=text)
    folder = write_folder(words=words)
    listed, named = write_several(words=words)
    again = read_several(listed=listed, named=named)
    return text, read(file=written), written, read_folder(folder=folder), folder, again


@task
def tell_union(value: int | str | list[int]) -> str:
    return f"{type(value).__name__} {value}"


@task
def choose(text: bool) -> int | str:
    return "seven" if text else 7


@task
def tell_unions(values: list[int | str]) -> str:
    return " ".join(f"{type(value).__name__} {value}" for value in values)


@workflow
def unions(given: int | str) -> tuple[str, str, str, str, int | str]:
    chosen = choose(text=True)
    return (
        tell_union(value=given),
        tell_union(value=[1, 2]),
        tell_union(value=3),
        tell_unions(values=[choose(text=False), chosen, given, 5]),
        chosen,
    )


@task
def tell_optional(a: int | None, b: str | None = "unsaid", c: float | None = None) -> str:
    return f"{a} {b} {c}"


@task
def maybe(x: int) -> int | None:
    return x or None


@task
def nothing(x: int) -> None:
    print("seen", x)  # noqa: T201


@workflow
def optionals(a: int | None = None, b: str | None = "default", c: int = 5) -> tuple[str, str, str, int | None, int]:
    """Nothing given, nothing returned, and what stands in for both."""
    nothing(x=c)
    return tell_optional(a=a), tell_optional(a=maybe(x=0), b=b), tell_optional(a=maybe(x=c), b=None), maybe(x=0), c


optionals_plan = LaunchPlan.get_or_create(
    optionals, name="data.optionals_plan", default_inputs={"a": 1}, fixed_inputs={"c": 9}
)


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


@task
def other(color: Color) -> Color:
    return Color.GREEN if color == Color.RED else Color.RED


@workflow
def enums(color: Color = Color.GREEN) -> tuple[Color, Color, list[Color]]:
    changed = other(color=color)
    return changed, other(color=changed), [color, changed]


@dataclass
class Point:
    x: int
    y: float = 0.5
    tags: list[str] = field(default_factory=list)


@dataclass
class Shape:
    name: str
    corner: Point
    points: list[Point]
    named: dict[str, Point]
    size: int | None = None


@task
def shape(x: int) -> Shape:
    points = [Point(x + index, tags=[f"t{index}"]) for index in range(3)]
    return Shape("shape", points[0], points, {"last": points[-1]})


@task
def tell_point(point: Point, x: int, y: float, tags: list[str]) -> str:
    return f"{point} {x} {y} {tags}"


@task
def grown(point: Point, by: int) -> Point:
    return Point(point.x + by, point.y, [*point.tags, "grown"])


@workflow
def dataclasses(given: Point) -> tuple[str, str, str, Shape, Point, int]:
    """Dataclasses and their attributes, at any depth."""
    made = shape(x=given.x)
    told = tell_point(point=made.corner, x=made.points[1].x, y=made.named["last"].y, tags=made.points[2].tags)
    size = tell_optional(a=made.size, b=made.points[1].tags[0])
    word = read_word(word=made.points[2].tags[0])
    return told, size, word, made, grown(point=given, by=made.corner.x), made.corner.x


@task
def read_word(word: str) -> str:
    return word


@task
def tables() -> dict[str, list[dict[str, int]]]:
    return {"a": [{"one": 1}, {"two": 2}], "b": []}


@task
def tell_table(table: dict[str, list[dict[str, int]]], row: dict[str, int], cell: int) -> str:
    return json.dumps([table, row, cell], sort_keys=True)


@task
def lists(count: int) -> list[list[int]]:
    return [list(range(index)) for index in range(count)]


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def tell_lists(numbers: list[list[int]], by_name: dict[str, int], empty: list[str]) -> str:
    return json.dumps([numbers, by_name, empty], sort_keys=True)


@workflow
def collections(count: int) -> tuple[str, str, list[int], dict[str, int], list[list[int]]]:
    """Lists and dicts inside one another; made of promises, taken apart by bindings, and empty."""
    table, rows = tables(), lists(count=count)
    sum_of_row = total(numbers=rows[3])
    sums = {"row": sum_of_row, "count": count, "fixed": 1}
    return (
        tell_table(table=table, row=table["a"][1], cell=table["a"][0]["one"]),
        tell_lists(numbers=[rows[2], [count, 7], []], by_name=sums, empty=[]),
        [sum_of_row, count],
        sums,
        rows,
    )


class Several(NamedTuple):
    when: datetime
    how_long: timedelta
    anything: dict
    flag: bool
    number: float


@task
def several(when: datetime, how_long: timedelta) -> Several:
    return Several(when + how_long, 2 * how_long, {"a": [1, {"b": None}]}, True, 0.25)


@task
def tell_all(when: datetime, how_long: timedelta, anything: dict, flag: bool, number: float) -> str:
    return f"{when.isoformat()} {how_long.total_seconds()} {json.dumps(anything)} {flag} {number}"


@workflow
def scalars(when: datetime, how_long: timedelta = timedelta(minutes=1)) -> tuple[str, datetime, timedelta, dict]:
    got = several(when=when, how_long=how_long)
    told = tell_all(when=got.when, how_long=got.how_long, anything=got.anything, flag=got.flag, number=got.number)
    return told, got.when, got.how_long, got.anything


class Unknown:
    """A class that flytekit has no type for: it travels pickled."""

    def __init__(self, value: int) -> None:
        self.value = value


@task
def pickled(value: int) -> Unknown:
    return Unknown(value)


@task
def unpickled(one: Unknown, many: list[Unknown]) -> int:
    return one.value + sum(each.value for each in many)


@workflow
def pickles(value: int) -> int:
    one = pickled(value=value)
    return unpickled(one=one, many=[one, one])


@task
def long_text(size: int) -> str:
    return "x" * size


@task
def length(text: str) -> int:
    return len(text)


@workflow
def large(text: str, size: int) -> tuple[int, int]:
    """Values of more than a mebibyte, given and made."""
    return length(text=text), length(text=long_text(size=size))


@task(environment={"OWN": "of the task", "BOTH": "of the task"})
def variables(names: list[str]) -> dict[str, str]:
    return {name: os.environ.get(name, "") for name in names}


@workflow
def environment(names: list[str]) -> dict[str, str]:
    return variables(names=names)


@workflow
def parts(table: dict[str, list[int]], number: int) -> tuple[int, int, int]:
    """Large values may lie in files of their own, which is where these come from."""
    return total(numbers=[table["a"][0], number]), total(numbers=table["a"]), number


shout = ShellTask(
    name="data.shout",
    script="tr a-z A-Z < {inputs.file} > {outputs.loud}; echo -n {inputs.times} >> {outputs.loud}",
    inputs={"file": FlyteFile, "times": int},
    output_locs=[OutputLocation("loud", FlyteFile, "loud.txt")],
)


@workflow
def shell(text: str) -> str:
    return read(file=shout(file=write(text=text), times=3))


# Not a program of flytekit: what it reads and writes are files, which are laid out and collected around it.
sort = ContainerTask(
    name="data.sort",
    image="none",
    input_data_dir="/var/inputs",
    output_data_dir="/var/outputs",
    inputs=kwtypes(file=FlyteFile, reverse=bool, times=int),
    outputs=kwtypes(sorted=FlyteFile, lines=int, all=FlyteDirectory),
    command=["/bin/sh", "-ec"],
    arguments=[
        "option=$(test $(cat /var/inputs/reverse) = true && echo -r || true); "
        "sort $option /var/inputs/file > /var/outputs/sorted; wc -l < /var/inputs/file > /var/outputs/lines; "
        "mkdir /var/outputs/all; for n in $(seq {{.inputs.times}}); do echo $n > /var/outputs/all/$n; done"
    ],
)


@workflow
def sorting(text: str) -> tuple[str, int, dict[str, str]]:
    done = sort(file=write(text=text), reverse=True, times=2)
    return read(file=done.sorted), total(numbers=[done.lines, 1]), listing(folder=done.all)


@task
def listing(folder: FlyteDirectory) -> dict[str, str]:
    root = Path(folder.download())
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@task
def long_texts(size: int) -> tuple[str, str, str]:
    return "x" * size, "y" * size, "z" * size


@workflow
def too_large(size: int) -> tuple[str, str, str]:
    return long_texts(size=size)


@reference_task("flytesnacks", "development", "data.read_word", "v1")
def referred(word: str) -> str: ...


@workflow
def reference(word: str) -> str:
    return referred(word=word)


repeat = Echo("data.repeat", inputs={"a": int})


@workflow
def echoed(a: int) -> tuple[int, int]:
    return repeat(a=a), repeat(a=total(numbers=[a, 1]))


class SayExecutor(ShimTaskExecutor["Say"]):
    """Works from the task template, which the engine lays where the command says."""

    def execute_from_model(self, tt: Any, **kwargs: Any) -> Any:
        return f"{tt.custom['greeting']}, {kwargs['name']}"


class Say(PythonCustomizedContainerTask[None]):
    """A task without code of its own, as flytekit's SQL tasks are."""

    def __init__(self, name: str, greeting: str) -> None:
        self.greeting = greeting
        super().__init__(
            name=name,
            task_config=None,
            container_image="none",
            executor_type=SayExecutor,
            task_type="say",
            interface=Interface({"name": str}, {"o0": str}),
        )

    def get_custom(self, settings: Any) -> dict[str, Any]:
        return {"greeting": self.greeting}


say = Say("data.say", "Good morning")


@workflow
def templated(name: str) -> str:
    return say(name=name)


@task(enable_deck=True)
def deck(title: str) -> str:
    from flytekit import Deck

    Deck("mine", f"<b>{title}</b>")
    return title


@workflow
def decks(title: str) -> str:
    return deck(title=title)


@task(retries=2)
def go_on() -> int:
    """Three attempts, each of which goes on where the one before it failed."""
    checkpoint = current_context().checkpoint
    done = int((checkpoint.read() or b"0").decode()) + 1
    checkpoint.write(str(done).encode())
    if done < 3 and current_context().execution_id.name != "local":
        raise FlyteRecoverableException(f"only {done}")
    return done


@workflow
def checkpoints() -> int:
    return go_on()


_WHEN = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)
_GIVEN = Path(__file__).parent / "given.txt"

# What is run by this engine and by flytekit itself. Workflow or launch plan, inputs.
CASES = {
    "files": (files, {"given": str(_GIVEN), "words": ["ash", "birch"]}),
    "an int for a union": (unions, {"given": 1}),
    "a text for a union": (unions, {"given": "one"}),
    "nothing given": (optionals, {}),
    "something given": (optionals, {"a": 3, "b": None, "c": 0}),
    "a launch plan's inputs": (optionals_plan, {}),
    "a launch plan with inputs": (optionals_plan, {"a": 2}),
    "enums": (enums, {"color": Color.RED}),
    "an enum by default": (enums, {}),
    "dataclasses": (dataclasses, {"given": Point(3, 1.5, ["given"])}),
    "collections": (collections, {"count": 4}),
    "scalars": (scalars, {"when": _WHEN}),
    "pickles": (pickles, {"value": 4}),
    "large": (large, {"text": "y" * 1_500_000, "size": 1_500_000}),
    "shell": (shell, {"text": "quiet"}),
    "templates": (templated, {"name": "Ada"}),
    "echo": (echoed, {"a": 5}),
    "decks": (decks, {"title": "hello"}),
}
