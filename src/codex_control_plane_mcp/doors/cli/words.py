"""Texts, ages and states as they are shown at a terminal.

What Codex or a model wrote may hold anything, also what a terminal obeys: each such text goes
through `plain`, so that nobody is shown another command than the one that would run.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.doors.presentable import presentable_text
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.workflow import Phase

#: A sign and a style for each kind of journal entry.
MARKS: Final = {
    Category.STATE: ("●", "cyan"),
    Category.ASSISTANT: ("»", "bold"),
    Category.PLAN: ("»", "bold"),
    Category.REASONING: ("·", "dim italic"),
    Category.COMMAND: ("$", "green"),
    Category.FILE_CHANGE: ("±", "magenta"),
    Category.TOOL: ("⚙", "blue"),
    Category.INTERACTION: ("?", "yellow"),
    Category.CHECKLIST: ("☐", "cyan"),
    Category.NOTICE: ("!", "dim"),
    Category.ERROR: ("✗", "red"),
    Category.GAP: ("…", "dim"),
}

_STYLES: Final = {
    Status.QUEUED: "dim",
    Status.STARTING_THREAD: "cyan",
    Status.STARTING_TURN: "cyan",
    Status.RUNNING: "bold cyan",
    Status.WAITING_FOR_APPROVAL: "bold yellow",
    Status.WAITING_FOR_USER_INPUT: "bold yellow",
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.INTERRUPTED: "magenta",
    Status.CANCELLED: "magenta",
    Status.UNKNOWN: "bold red",
    Phase.PLANNING: "bold cyan",
    Phase.EXECUTING: "bold cyan",
    Phase.REVIEWING: "bold cyan",
    Phase.PLAN_READY: "bold yellow",
    Phase.PLAN_NEEDS_REVIEW: "bold yellow",
    Phase.PLAN_CANDIDATE_FOUND: "bold yellow",
}


def style_of(state: Status | Phase) -> str:
    return _STYLES.get(state, "")


def state_name(state: str) -> str:
    """`waiting_for_approval` as people write it, and what is long in short."""
    return _SHORT.get(state, state.replace("_", " "))


_SHORT: Final[Mapping[str, str]] = {
    Status.WAITING_FOR_APPROVAL: "needs approval",
    Status.WAITING_FOR_USER_INPUT: "asks",
    Status.STARTING_THREAD: "starting",
    Status.STARTING_TURN: "starting",
    Status.UNKNOWN: "unknown",
}

#: What moves the cursor, changes colours, or turns the direction of the text.
_OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)


def plain(text: str) -> str:
    """`text` without secrets, and with everything in it that a terminal would obey spelled out."""
    return _OBEYED.sub(_spelled, presentable_text(text).replace("\r\n", "\n"))


def one_line(text: str) -> str:
    return " ".join(plain(text).split())


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def lasted(seconds: float) -> str:
    """A length of time in two figures: `9 s`, `3 min`, `2 h`, `5 d`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def local_time(moment: Moment) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).astimezone().strftime("%H:%M:%S")


def local_date(moment: Moment) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def at_home(path: str, home: str | None = None) -> str:
    """A path with the home folder as `~`, as people write it."""
    home = home or str(Path.home())
    if len(home) > 1 and (path == home or path.startswith((f"{home}/", f"{home}\\"))):
        path = f"~{path[len(home) :]}"
    return plain(path)
