"""Tasks that the tests of the local engine run; imported only in the environment of tasks, by its own Python."""
# ruff: noqa: T201 - what these tasks print is what the tests look for.

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from flytekit import ContainerTask, Deck, ImageSpec, current_context, dynamic, kwtypes, map_task, task
from flytekit.exceptions.user import FlyteRecoverableException
from flytekit.types.file import FlyteFile


@task
def double(x: int) -> int:
    return x * 2


@task
def nothing() -> None:
    print("nothing to do", flush=True)


@task
def made_at_import() -> None:
    import multiprocessing
    import random
    import tempfile
    import uuid

    import seeded
    from flytekit.interfaces.random import random as names

    print(f"drawn={seeded.DRAWN}\nthreads={seeded.THREADS}\nrandom={random.random()}\nflytekit={names.random()}")
    print(f"authkey={bytes(multiprocessing.current_process().authkey).hex()}\nuuid={uuid.uuid1()}")
    print(f"temporary={tempfile.mkdtemp()}", flush=True)


IMAGE = ImageSpec(name="spec", packages=["x"], registry="localhost:5000")
OTHER_IMAGE = ImageSpec(name="spec", packages=["y"], registry="localhost:5000")
INSIDE, INSIDE_OTHER = IMAGE.is_container(), OTHER_IMAGE.is_container()


@task(container_image=IMAGE)
def in_image() -> None:
    # In a warm process the module is imported in the task.
    print(f"inside={INSIDE and not INSIDE_OTHER}", flush=True)


@task
def read_secrets() -> None:
    value, file = os.environ["VALUE"], Path(os.environ["FILE"])
    assert file.stat().st_mode & 0o777 == 0o600
    read = current_context().secrets.get("g3", "K2", group_version="v2")
    print(f"value={value} file={file.read_text()} flytekit={read}", flush=True)


@task
def share() -> int:
    with multiprocessing.Manager() as manager:
        return int(manager.dict(a=4)["a"])


@task
def width_of_console() -> None:
    import rich

    print(f"width={rich.get_console().width}", flush=True)


@task
def fail(message: str) -> int:
    if message:
        raise ValueError(message)
    return 0


@task(retries=1)
def fail_for_now() -> int:
    if current_context().execution_id:
        raise FlyteRecoverableException("try again")
    return 0


@task
def leave(code: int) -> int:
    print("leaving now", flush=True)
    if code:
        os._exit(code)
    return 0


@task
def kill_itself() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@task
def sleep(seconds: float) -> int:
    print("asleep", flush=True)
    time.sleep(seconds)
    return 1


@task
def stubborn(seconds: float) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
    time.sleep(seconds)
    return 1


@task
def parent(marker: str, leave_at_once: bool) -> int:
    """Children of three kinds: in the group, in a session of their own, and orphaned by a parent that has ended."""
    write = "import os,sys,time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(120)"
    subprocess.Popen([sys.executable, "-c", write, marker])
    subprocess.Popen([sys.executable, "-c", write, marker], start_new_session=True)
    orphan = (
        "import subprocess, sys; "
        f"subprocess.Popen([sys.executable, '-c', {write!r}, sys.argv[1]], start_new_session=True)"
    )
    subprocess.run([sys.executable, "-c", orphan, marker], check=True)
    while not Path(marker).exists() or len(Path(marker).read_text().splitlines()) < 3:
        time.sleep(0.02)
    print("bred", flush=True)
    if not leave_at_once:
        time.sleep(120)
    return 3


@task
def breed(count: int) -> int:
    for _ in range(count):
        if os.fork() == 0:
            time.sleep(120)
    time.sleep(120)
    return count


@task
def chatter(mebibytes: int) -> int:
    line = b"x" * 1023 + b"\n"
    for _ in range(mebibytes * 1024):
        os.write(1, line)
    os.write(1, b"the very last line\n")
    return mebibytes


@task
def fill_disk(mebibytes: int) -> int:
    with open("big", "wb") as file:
        for _ in range(mebibytes):
            file.write(b"\0" * 1024 * 1024)
            file.flush()
    time.sleep(20)
    return mebibytes


@task
def write_file(text: str) -> FlyteFile:
    Path("out.txt").write_text(text)
    return FlyteFile("out.txt")


@task(enable_deck=True)
def with_deck() -> int:
    Deck("mine", "<b>hello</b>")
    return 1


@task
def resume() -> int:
    checkpoint = current_context().checkpoint
    before = checkpoint.read()
    count = int(before.decode()) + 1 if before else 1
    checkpoint.write(str(count).encode())
    return count


@task
def look() -> dict[str, str]:
    import tempfile

    return {
        **{f"env.{name}": value for name, value in os.environ.items()},
        "cwd": os.getcwd(),
        "tmp": tempfile.gettempdir(),
        "argv0": sys.argv[0],
        "path": os.pathsep.join(sys.path),
        "modules": ",".join(sorted(sys.modules)),
        "threads": str(__import__("threading").active_count()),
        "sid": str(os.getsid(0)),
        "pid": str(os.getpid()),
    }


@dynamic
def fan_out(count: int) -> list[int]:
    return [double(x=index) for index in range(count)]


@task
def triple(x: int, factor: int) -> int:
    return x * factor


mapped = map_task(functools.partial(triple, factor=3))

shell = ContainerTask(
    name="shell",
    image="none",
    input_data_dir="/var/inputs",
    output_data_dir="/var/outputs",
    inputs=kwtypes(word=str, number=int, file=FlyteFile),
    outputs=kwtypes(text=str, length=int, copy=FlyteFile),
    command=["/bin/sh", "-c"],
    arguments=[
        "cat /var/inputs/file > /var/outputs/copy; printf '%s-%s' \"$(cat /var/inputs/word)\" {{.inputs.number}} "
        "> /var/outputs/text; printf 7 > /var/outputs/length",
    ],
)

words = ContainerTask(
    name="words",
    image="none",
    inputs=kwtypes(script=str),
    outputs=kwtypes(o=int),
    command=["/bin/sh", "-c", "{{.inputs.script}}"],
)
