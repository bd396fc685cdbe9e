"""The memory and the graphics cards of this machine, which running tasks share."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import uuid
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app import limited_log
from app.engine.local.processes.pool.claims_book import Book, Entries, Taken
from app.engine.local.processes.pool.spec import NotStarted
from app.runtime.fair_semaphore import Permit

_GPUS_RECORD = "gpus"
_NVIDIA_SECONDS_MAX = 20.0
_numbers = itertools.count()
# With the pid in the names of claims: a later process may have the same pid, as in a container.
_START = uuid.uuid4().hex[:12]
# Releases of other server processes are not reported.
_POLL_SECONDS = 0.2


class TooMuch(Exception):
    """A task asks for more than the machine has."""


def gpus_of(setting: str) -> tuple[str, ...]:
    """Return the ids of graphics cards: of the setting, a list or a number; "auto" asks nvidia-smi."""
    text = setting.strip()
    if text == "auto":
        program = shutil.which("nvidia-smi")
        if program is None:
            return ()
        try:
            listed = subprocess.run(
                [program, "--query-gpu=index", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=_NVIDIA_SECONDS_MAX,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            # The driver does not answer, so no card can be used.
            return ()
        return tuple(listed.stdout.split())
    parts = tuple(part for part in text.replace(",", " ").split())
    if len(parts) == 1 and parts[0].isdigit() and "," not in text:
        return tuple(map(str, range(int(parts[0]))))
    return parts


@dataclass(frozen=True, slots=True)
class _Waiter:
    name: str
    memory: int
    gpus: int
    served: asyncio.Future[list[str]]


class _Turns:
    """Waiting claims; the keys take turns, as at `FairSemaphore`."""

    def __init__(self) -> None:
        self._by_key: dict[Hashable, deque[_Waiter]] = {}

    def add(self, key: Hashable, waiter: _Waiter) -> None:
        self._by_key.setdefault(key, deque()).append(waiter)

    def first(self) -> _Waiter | None:
        """Return the claim that is served next, after removing those that are cancelled."""
        while self._by_key:
            key, waiters = next(iter(self._by_key.items()))
            while waiters and waiters[0].served.cancelled():
                waiters.popleft()
            if waiters:
                return waiters[0]
            del self._by_key[key]
        return None

    def remove_first(self) -> None:
        key = next(iter(self._by_key))
        waiters = self._by_key.pop(key)
        waiters.popleft()
        if waiters:
            self._by_key[key] = waiters


def name_of(folder: Path) -> str:
    """Return a new name for a claim of the process of a folder, which two claims may be for."""
    return f"{folder}#{_own()}{next(_numbers)}"


def folder_of(name: str) -> str:
    """Return the folder of a name of a claim."""
    return name.rpartition("#")[0]


def _own() -> str:
    return f"{os.getpid()}-{_START}-"


def _is_own(name: str) -> bool:
    return name.rpartition("#")[2].startswith(_own())


class Machine:
    """Memory and graphics cards that are not claimed.

    Waiting claims of different keys are served in turn. None overtakes a claim that waits for the same thing, so that
    many small claims do not delay a large one for ever. A claim that waits for cards does not delay others that want
    none. A claim above the budget of memory is served alone.

    Args:
        memory_bytes: The memory for all tasks together.
        gpus: The ids of the graphics cards.
        book: Where the claims are noted; None for the memory of this process.
    """

    def __init__(self, memory_bytes: int, gpus: Sequence[str], book: Book | None = None) -> None:
        self.memory_bytes = memory_bytes
        self._gpus = tuple(gpus)
        self.book = book or Book()
        self._for_gpus, self._for_memory = _Turns(), _Turns()
        self._polling: asyncio.Task[None] | None = None

    def request(self, name: str, memory: int, gpus: int, key: Hashable) -> asyncio.Future[list[str]]:
        """Claim memory and cards under a name (`name_of`).

        Returns:
            The ids of the cards, as soon as the claim is served. Call `release` when it is not needed any more.

        Raises:
            TooMuch: There are fewer cards.
            OSError: The claim cannot be noted.
        """
        if gpus > len(self._gpus):
            raise TooMuch(f"the task asks for {gpus} GPUs, and this machine has {len(self._gpus)} (engine.local.gpus)")
        waiter = _Waiter(name, memory, gpus, asyncio.get_running_loop().create_future())
        (self._for_gpus if gpus else self._for_memory).add(key, waiter)
        try:
            self._serve()
        except OSError:
            waiter.served.cancel()
            raise
        return waiter.served

    def claim_running(self, name: str, memory: int, gpus: Sequence[str]) -> None:
        """Claim what a process has that runs already, in place of a server process that was killed.

        Raises:
            OSError: The claim cannot be noted.
        """
        with self.book.opened() as taken:
            for other in [one for one in taken if folder_of(one) == folder_of(name) and not _is_own(one)]:
                del taken[other]
            taken[name] = Taken(memory, list(gpus))

    def release(self, name: str) -> None:
        """Give back a claim, and serve those that wait.

        Raises:
            OSError: The end of the claim cannot be noted.
        """
        with self.book.opened() as taken:
            taken.pop(name, None)
        if self._waits():
            self._serve()

    def _serve(self) -> None:
        served: list[tuple[_Waiter, list[str]]] = []
        try:
            with self.book.opened() as taken:
                served += self._take_for(self._for_gpus, taken)
                waits = self._for_gpus.first()
                # Where its cards are free, the next memory is for this claim.
                if waits is None or len(self._free(taken)) < waits.gpus:
                    served += self._take_for(self._for_memory, taken)
        except OSError as error:
            for waiter, _ in served:
                waiter.served.set_exception(error)
            raise
        for waiter, gpus in served:
            waiter.served.set_result(gpus)
        if self.book.is_shared and self._polling is None and self._waits():
            self._polling = asyncio.create_task(self._poll())

    def close(self) -> None:
        """Serve no more claims."""
        if self._polling is not None:
            self._polling.cancel()

    def _take_for(self, waiting: _Turns, taken: Entries) -> list[tuple[_Waiter, list[str]]]:
        served = []
        while (waiter := waiting.first()) is not None:
            free = self._free(taken)
            claimed = sum(one.memory for one in taken.values())
            if len(free) < waiter.gpus or (taken and claimed + waiter.memory > self.memory_bytes):
                break
            waiting.remove_first()
            gpus = free[: waiter.gpus]
            taken[waiter.name] = Taken(waiter.memory, gpus)
            served.append((waiter, gpus))
        return served

    def _free(self, taken: Entries) -> list[str]:
        used = {gpu for one in taken.values() for gpu in one.gpus}
        return [gpu for gpu in self._gpus if gpu not in used]

    def _waits(self) -> bool:
        return self._for_gpus.first() is not None or self._for_memory.first() is not None

    async def _poll(self) -> None:
        try:
            while self._waits():
                await asyncio.sleep(_POLL_SECONDS)
                try:
                    self._serve()
                except OSError as error:
                    limited_log.warning("claims_not_readable", error=str(error))
        finally:
            self._polling = None


class Claim:
    """A permit to run a process, with its memory and its graphics cards.

    Args:
        permit: The permit.
        machine: The machine; None where the process claims nothing.
        memory: Bytes.
        gpus: Number of cards.
        folder: The private folder of the process. A file there has the ids of its cards, for a later server.
        key: The key that takes turns with other waiting claims.
    """

    def __init__(
        self, permit: Permit, machine: Machine | None, memory: int, gpus: int, folder: Path, key: Hashable = None
    ) -> None:
        self._permit = permit
        self._machine = machine
        self._memory = memory
        self._gpus = gpus
        self._name = name_of(folder)
        self._record = folder / _GPUS_RECORD
        self._key = key
        self._held = False
        self.gpu_ids: list[str] = []

    async def acquire(self) -> None:
        """Wait for the permit, memory and cards. While memory or cards are missing, others use the permit.

        Raises:
            TooMuch: The machine has fewer cards.
            NotStarted: The claim cannot be noted.
        """
        await self._permit.acquire()
        if self._machine is None:
            return
        try:
            served = self._machine.request(self._name, self._memory, self._gpus, self._key)
            if not served.done():
                self._permit.release()
            await self._await(served)
            await self._permit.acquire()
            if self.gpu_ids:
                self._record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._record.write_text(",".join(self.gpu_ids))
        except OSError as error:
            self.release()
            raise NotStarted(f"{error.strerror}: {error.filename}") from error
        except BaseException:
            self.release()
            raise

    async def _await(self, served: asyncio.Future[list[str]]) -> None:
        try:
            self.gpu_ids = await served
        finally:
            # The claim may have been served in the turn of the event loop in which this coroutine was cancelled. If
            # it was not served, release() serves the claims that it has delayed.
            self._held = True

    def acquire_over_limit(self) -> None:
        """Take permit, memory and cards of a process that runs already."""
        self._permit.acquire_over_limit()
        if self._machine is None:
            return
        if self._gpus and self._record.exists():
            self.gpu_ids = self._record.read_text().split(",")
        try:
            self._machine.claim_running(self._name, self._memory, self.gpu_ids)
        except OSError as error:
            limited_log.warning("claim_not_noted", error=str(error))
        self._held = True

    def release(self) -> None:
        """Give back what is held."""
        if self._machine is not None and self._held:
            self._held = False
            try:
                self._machine.release(self._name)
            except OSError as error:
                limited_log.warning("claim_not_released", error=str(error))
        self._permit.release()
