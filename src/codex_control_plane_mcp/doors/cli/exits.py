"""What an exit code says: one table for every command that has to do with tasks."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from codex_control_plane_mcp.model.operation import FINAL, Status
from codex_control_plane_mcp.model.workflow import UNDECIDED, Phase


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    WANTS_SOMEBODY = 3
    UNKNOWN = 4
    STOPPED = 5
    NOT_FOUND = 6
    REFUSED = 7
    UNREACHABLE = 8
    TIMEOUT = 9
    INTERRUPTED = 130


MEANINGS: Final[Mapping[Exit, str]] = MappingProxyType(
    {
        Exit.DONE: "done: the task completed, or the command did what it says",
        Exit.FAILED: "failed: the task failed, or the command found or did what is wrong",
        Exit.USAGE: "the command or a setting is wrong; nothing was done",
        Exit.WANTS_SOMEBODY: "needs approval: a question, or a plan, waits for somebody",
        Exit.UNKNOWN: "unknown: nobody can tell how the task ended; it is not a success",
        Exit.STOPPED: "the task was cancelled or interrupted",
        Exit.NOT_FOUND: "there is nothing by that id",
        Exit.REFUSED: "refused: another task by that key, the same prompt at work, too late",
        Exit.UNREACHABLE: "no worker can be reached, or the state cannot be read or written",
        Exit.TIMEOUT: "not ended within --timeout; the task goes on",
        Exit.INTERRUPTED: "Ctrl-C; the task goes on",
    }
)

_OF_STATUS: Final = {
    Status.COMPLETED: Exit.DONE,
    Status.FAILED: Exit.FAILED,
    Status.INTERRUPTED: Exit.STOPPED,
    Status.CANCELLED: Exit.STOPPED,
    Status.UNKNOWN: Exit.UNKNOWN,
}
_OF_PHASE: Final = {
    Phase.COMPLETED: Exit.DONE,
    Phase.FAILED: Exit.FAILED,
    Phase.INTERRUPTED: Exit.STOPPED,
    Phase.ORPHANED: Exit.UNKNOWN,
    **dict.fromkeys(UNDECIDED, Exit.WANTS_SOMEBODY),
}
_OF_REPAIR: Final = {
    "planned": Exit.DONE,
    "applied": Exit.DONE,
    "nothing_to_do": Exit.DONE,
    "refused": Exit.REFUSED,
    "failed": Exit.FAILED,
    "unknown": Exit.UNKNOWN,
    # It goes on.
    "running": Exit.TIMEOUT,
}
_OF_CODE: Final = {
    "INVALID_ARGUMENT": Exit.USAGE,
    "CODEX_DUPLICATE_PROMPT_ACTIVE": Exit.REFUSED,
    "CODEX_IDEMPOTENCY_MISMATCH": Exit.REFUSED,
    "CODEX_BUSY": Exit.REFUSED,
    "CODEX_PENDING_INTERACTION_UNAVAILABLE": Exit.REFUSED,
    "CODEX_STATE_BUSY": Exit.UNREACHABLE,
    "CODEX_APP_SERVER_UNAVAILABLE": Exit.UNREACHABLE,
    "CODEX_TIMEOUT": Exit.TIMEOUT,
}


def of_end(status: Status) -> Exit:
    """How a task ended."""
    assert status in FINAL  # noqa: S101  # asked of what has ended
    return _OF_STATUS[status]


def of_phase(phase: Phase) -> Exit | None:
    """How a workflow ended, or that it waits for a decision; None while it is at work."""
    return _OF_PHASE.get(phase)


def of_repair(outcome: str) -> Exit:
    """What came of a repair, or of its plan."""
    return _OF_REPAIR[outcome]


def of_code(code: str) -> Exit:
    """What an error of the contract means to whoever called."""
    if code.endswith("_NOT_FOUND"):
        return Exit.NOT_FOUND
    return _OF_CODE.get(code, Exit.FAILED)


def table() -> str:
    """The table as it stands in `--help` and in the README."""
    return "\n".join(f"{code.value:>4}  {meaning}" for code, meaning in MEANINGS.items())
