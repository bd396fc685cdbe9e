"""Phases of executions and nodes as the terminal shows them."""

from __future__ import annotations

from dataclasses import dataclass

SUCCEEDED, FAILED, RUNNING, WAITING = "SUCCEEDED", "FAILED", "RUNNING", "WAITING"

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT", "SKIPPED", "RECOVERED"})
BAD = frozenset({"FAILED", "FAILING", "ABORTED", "ABORTING", "TIMED_OUT"})
# Rows of these phases are folded last.
NOTABLE = ("FAILED", "TIMED_OUT", "ABORTED", "FAILING", "ABORTING", "RUNNING", "DYNAMIC_RUNNING", "QUEUED")


@dataclass(frozen=True, slots=True)
class Look:
    """The sign and colour of a phase.

    Attributes:
        sign: One character, beside the word of the phase, so that colour is not needed.
        style: A style of Rich.
    """

    sign: str
    style: str


_GOOD, _BAD, _ACTIVE, _QUIET = "green", "bold red", "cyan", "dim"
_LOOKS = {
    "SUCCEEDED": Look("✓", _GOOD),
    "RECOVERED": Look("✓", _GOOD),
    "SUCCEEDING": Look("●", _ACTIVE),
    "RUNNING": Look("●", _ACTIVE),
    "DYNAMIC_RUNNING": Look("●", _ACTIVE),
    "PAUSED": Look("‖", "yellow"),
    "QUEUED": Look("○", _QUIET),
    "FAILING": Look("✗", _BAD),
    "FAILED": Look("✗", _BAD),
    "TIMED_OUT": Look("✗", _BAD),
    "ABORTING": Look("■", "yellow"),
    "ABORTED": Look("■", "yellow"),
    "SKIPPED": Look("–", _QUIET),
}
_OTHER = Look("·", _QUIET)


def look_of(phase: str) -> Look:
    """Return sign and colour of a phase."""
    return _LOOKS.get(phase, _OTHER)


def exit_code(phase: str) -> int:
    """Return the exit code for the phase in which an execution ended: 0 for SUCCEEDED, else 1."""
    return 0 if phase == SUCCEEDED else 1
