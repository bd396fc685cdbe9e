"""Claims of memory and graphics cards: turns, permits of those that wait, and several server processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.engine.local.processes.pool import claims
from app.engine.local.processes.pool.claims import Claim, Machine, TooMuch, name_of
from app.engine.local.processes.pool.claims_book import Entries, SharedBook
from app.engine.local.processes.pool.spec import NotStarted
from app.runtime.fair_semaphore import FairSemaphore, Permit

# Claims a card for the process of a folder, prints the card, and is killed.
KILLED = """
import asyncio, os, sys
from pathlib import Path
from app.engine.local.processes.pool.claims import Machine, name_of
from app.engine.local.processes.pool.claims_book import SharedBook
async def main():
    machine = Machine(100, ("0", "1"), SharedBook(Path(sys.argv[1]), lambda folder: False))
    print(await machine.request(name_of(Path(sys.argv[2])), 60, 1, 0), flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


def never(folder: Path) -> bool:
    return False


def taken(machine: Machine) -> Entries:
    with machine.book.opened() as entries:
        return dict(entries)


def test_claims_are_served_in_order_and_one_above_the_budget_is_served_alone() -> None:
    async def main() -> None:
        machine = Machine(100, ("0", "1"))
        names = [name_of(Path(f"/{number}")) for number in range(5)]
        assert await machine.request(names[0], 60, 1, "a") == ["0"]
        large = machine.request(names[1], 500, 0, "a")
        cancelled = machine.request(names[2], 500, 0, "a")
        later = machine.request(names[3], 10, 0, "a")
        cancelled.cancel()
        # The order is kept, so that many small claims do not delay a large one for ever.
        machine.release(names[2])
        assert not large.done()
        assert not later.done()
        machine.release(names[0])
        assert await large == []
        assert not later.done()
        machine.release(names[1])
        assert await later == []
        machine.release(names[3])
        assert taken(machine) == {}
        with pytest.raises(TooMuch, match="asks for 3 GPUs, and this machine has 2"):
            machine.request(names[4], 1, 3, "a")

    asyncio.run(main())


def test_keys_take_turns_and_waiting_for_a_card_delays_nobody_else() -> None:
    async def main() -> None:
        machine = Machine(100, ("0",))
        first, card = name_of(Path("/first")), name_of(Path("/card"))
        await machine.request(first, 50, 1, "a")
        waits_for_card = machine.request(card, 10, 1, "a")
        assert not waits_for_card.done()
        assert machine.request(name_of(Path("/small")), 10, 0, "a").done()
        order: list[str] = []
        for number in range(3):
            claim = machine.request(name_of(Path(f"/a{number}")), 60, 0, "a")
            claim.add_done_callback(lambda _, number=number: order.append(f"a{number}"))
        other = machine.request(name_of(Path("/b")), 60, 0, "b")
        other.add_done_callback(lambda _: order.append("b"))
        machine.release(first)
        assert await waits_for_card == ["0"]
        while len(order) < 4:
            await asyncio.sleep(0)
            machine.release(next((name for name, one in taken(machine).items() if one.memory == 60), ""))
        assert order == ["a0", "b", "a1", "a2"]

    asyncio.run(main())


def test_a_claim_that_waits_lets_others_use_its_permit(tmp_path: Path) -> None:
    async def main() -> None:
        semaphore, machine = FairSemaphore(1), Machine(100, ())

        def claim(name: str, memory: int) -> Claim:
            return Claim(Permit(semaphore, name), machine if memory else None, memory, 0, tmp_path / name, name)

        adopted = claim("adopted", 80)
        adopted.acquire_over_limit()
        semaphore.limit = 2
        waiting = claim("waiting", 50)
        start = asyncio.create_task(waiting.acquire())
        await asyncio.sleep(0)
        assert not start.done()
        small = claim("small", 0)
        await asyncio.wait_for(small.acquire(), 5)
        adopted.release()
        await asyncio.wait_for(start, 5)
        cancelled = asyncio.create_task(claim("cancelled", 60).acquire())
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        waiting.release()
        small.release()
        assert (semaphore.held, taken(machine)) == (0, {})

    asyncio.run(main())


def test_two_claims_for_one_process_are_counted_one_by_one(tmp_path: Path) -> None:
    machine = Machine(100, ("0",))
    claims = [Claim(Permit(None), machine, 10, 1, tmp_path / "same") for _ in range(2)]
    (tmp_path / "same").mkdir()
    (tmp_path / "same" / "gpus").write_text("0")

    async def main() -> None:
        for claim in claims:
            claim.acquire_over_limit()
        claims[1].release()
        assert [one.gpus for one in taken(machine).values()] == [["0"]]
        claims[0].release()
        assert taken(machine) == {}

    asyncio.run(main())


def test_server_processes_share_memory_and_cards(tmp_path: Path) -> None:
    async def main() -> None:
        book = tmp_path / "home" / "claims.json"
        one, other = (Machine(100, ("0", "1"), SharedBook(book, never)) for _ in range(2))
        names = [name_of(tmp_path / str(number)) for number in range(3)]
        assert await one.request(names[0], 60, 1, "a") == ["0"]
        assert await other.request(names[1], 20, 1, "a") == ["1"]
        waiting = other.request(names[2], 30, 0, "a")
        assert not waiting.done()
        one.release(names[0])
        # The release of another process is noticed by looking at the book.
        assert await asyncio.wait_for(waiting, 10) == []
        other.close()
        assert sorted(one.memory for one in taken(one).values()) == [20, 30]

    asyncio.run(main())


@pytest.mark.slow
def test_the_card_of_a_killed_server_process_stays_taken_while_its_task_runs(tmp_path: Path) -> None:
    book, folder = tmp_path / "claims.json", tmp_path / "attempt"
    done = subprocess.run([sys.executable, "-c", KILLED, str(book), str(folder)], capture_output=True, text=True)
    assert done.stdout == "['0']\n", done.stderr
    running = {folder}

    async def main() -> None:
        machine = Machine(100, ("0", "1"), SharedBook(book, running.__contains__))
        assert await machine.request(name_of(tmp_path / "next"), 10, 1, "a") == ["1"]
        adopted = name_of(folder)
        machine.claim_running(adopted, 60, ["0"])
        assert len(taken(machine)) == 2
        machine.release(adopted)
        assert len(taken(machine)) == 1
        # Without a task and without its server process a claim is void.
        data = json.loads(book.read_text())
        (name,) = data
        book.write_text(json.dumps({name: [*data[name][:3], "stamp of another process"]}) + "rest of a longer book")
        assert taken(machine) == {}

    asyncio.run(main())


def test_a_book_that_cannot_be_read_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "claims.json"
    whole = json.dumps({"/other#1-1-1": [60, ["0"], 1, "stamp"]}).encode()
    for broken in (b"\0" * 40, whole[:20], whole[:20] + b"\0" * 20, b"\xff", b"[1]", b'{"a": 1}'):
        path.write_bytes(broken)

        async def main() -> None:
            machine = Machine(100, ("0",), SharedBook(path, never))
            name = name_of(tmp_path / "attempt")
            assert await machine.request(name, 60, 1, "a") == ["0"]
            assert [*taken(machine)] == [name]

        asyncio.run(main())


def test_a_disk_that_gets_full_while_the_book_is_written_leaves_the_book_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, room = os.pwrite, 200

    def limited(descriptor: int, data: bytes, offset: int) -> int:
        if offset >= room:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data[: room - offset], offset)

    async def main() -> None:
        machine = Machine(1000, (), SharedBook(tmp_path / "claims.json", never))
        first = name_of(Path("/first"))
        await machine.request(first, 10, 0, "a")
        monkeypatch.setattr(os, "pwrite", limited)
        with pytest.raises(OSError, match="No space left"):
            machine.request(name_of(Path("/" + "second" * 40)), 10, 0, "a")
        assert [*taken(machine)] == [first]

    asyncio.run(main())


def test_a_server_with_the_pid_of_the_one_before_takes_over_the_claim_of_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, folder = tmp_path / "claims.json", tmp_path / "attempt"

    async def main() -> None:
        await Machine(100, ("0",), SharedBook(book, never)).request(name_of(folder), 60, 1, "a")
        monkeypatch.setattr(claims, "_START", "later")
        later = Machine(100, ("0",), SharedBook(book, folder.__eq__))
        later.claim_running(name_of(folder), 60, ["0"])
        assert [one.memory for one in taken(later).values()] == [60]

    asyncio.run(main())


def test_a_book_that_cannot_be_written_is_a_failure_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(SharedBook):
        @contextmanager
        def opened(self) -> Iterator[Entries]:
            yield {}
            raise OSError(28, "No space left on device", str(tmp_path))

    async def main() -> None:
        semaphore = FairSemaphore(1)
        machine = Machine(100, ("0",), Full(tmp_path / "claims.json", never))
        with pytest.raises(NotStarted, match="No space left"):
            await Claim(Permit(semaphore), machine, 10, 1, tmp_path).acquire()
        assert semaphore.held == 0

    asyncio.run(main())
