"""The memory and the graphics cards of this machine, which running tasks share."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from app.engine.local.processes.fair_semaphore import Permit

_GPUS_RECORD = "gpus"
_LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_NVIDIA_SECONDS_MAX = 20.0


class TooMuch(Exception):
    """A task asks for more than the machine has."""


def machine_memory() -> int:
    """Return the bytes of memory of this machine, or of the container that this server runs in."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _LIMIT_FILES:
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            found = min(found, int(text))
    return found


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


class Machine:
    """Memory and graphics cards that are not claimed. Waiting claims are served in their order.

    Args:
        memory_bytes: The memory for all tasks together.
        gpus: The ids of the graphics cards.
    """

    def __init__(self, memory_bytes: int, gpus: Sequence[str]) -> None:
        self.memory_bytes = memory_bytes
        self.gpus_max = len(gpus)
        self.claimed_bytes = 0
        self.claims = 0
        self.free_gpus = list(gpus)
        self._waiting: deque[tuple[asyncio.Future[list[str]], int, int]] = deque()

    async def claim(self, memory: int, gpus: int) -> list[str]:
        """Wait for memory and cards; return the ids of the cards. A claim above the budget is served alone.

        Raises:
            TooMuch: There are fewer cards.
        """
        if gpus > self.gpus_max:
            raise TooMuch(f"the task asks for {gpus} GPUs, and this machine has {self.gpus_max} (engine.local.gpus)")
        if not self._waiting and self._fits(memory, gpus):
            return self._take(memory, gpus)
        served: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._waiting.append((served, memory, gpus))
        try:
            return await served
        except asyncio.CancelledError:
            if not served.cancelled():
                self.release(memory, served.result())
            else:
                self._serve()
            raise

    def claim_running(self, memory: int, gpus: Sequence[str]) -> None:
        """Claim what a process has that runs already."""
        self.claimed_bytes += memory
        self.claims += 1
        self.free_gpus = [one for one in self.free_gpus if one not in gpus]

    def release(self, memory: int, gpus: Sequence[str]) -> None:
        """Give back a claim, and serve those that wait."""
        self.claimed_bytes -= memory
        self.claims -= 1
        self.free_gpus += gpus
        self._serve()

    def _fits(self, memory: int, gpus: int) -> bool:
        enough = self.claimed_bytes + memory <= self.memory_bytes or not self.claims
        return enough and gpus <= len(self.free_gpus)

    def _take(self, memory: int, gpus: int) -> list[str]:
        self.claimed_bytes += memory
        self.claims += 1
        taken, self.free_gpus = self.free_gpus[:gpus], self.free_gpus[gpus:]
        return taken

    def _serve(self) -> None:
        while self._waiting:
            served, memory, gpus = self._waiting[0]
            if served.cancelled():
                self._waiting.popleft()
            elif self._fits(memory, gpus):
                self._waiting.popleft()
                served.set_result(self._take(memory, gpus))
            else:
                return


class Claim:
    """A permit to run a process, with its memory and its graphics cards.

    Args:
        permit: The permit.
        machine: The machine; None where the process claims nothing.
        memory: Bytes.
        gpus: Number of cards.
        folder: The private folder of the process. A file there has the ids of its cards, for a later server.
    """

    def __init__(self, permit: Permit, machine: Machine | None, memory: int, gpus: int, folder: Path) -> None:
        self._permit = permit
        self._machine = machine
        self._memory = memory
        self._gpus = gpus
        self._record = folder / _GPUS_RECORD
        self._held = False
        self.gpu_ids: list[str] = []

    async def acquire(self) -> None:
        """Wait for the permit, then for memory and cards.

        Raises:
            TooMuch: The machine has fewer cards.
        """
        await self._permit.acquire()
        if self._machine is None:
            return
        try:
            self.gpu_ids = await self._machine.claim(self._memory, self._gpus)
            self._held = True
            if self.gpu_ids:
                self._record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._record.write_text(",".join(self.gpu_ids))
        except BaseException:
            self.release()
            raise

    def acquire_over_limit(self) -> None:
        """Take permit, memory and cards of a process that runs already."""
        self._permit.acquire_over_limit()
        if self._machine is None:
            return
        if self._gpus and self._record.exists():
            self.gpu_ids = self._record.read_text().split(",")
        self._machine.claim_running(self._memory, self.gpu_ids)
        self._held = True

    def release(self) -> None:
        """Give back what is held."""
        if self._machine is not None and self._held:
            self._held = False
            self._machine.release(self._memory, self.gpu_ids)
        self._permit.release()
