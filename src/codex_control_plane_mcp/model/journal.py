"""What is written down of an operation while it runs: short entries in the order they happened."""

from dataclasses import dataclass
from enum import StrEnum

from codex_control_plane_mcp.clock import Moment


class Category(StrEnum):
    #: The operation's status changed.
    STATE = "state"
    #: The model speaks to the user.
    ASSISTANT = "assistant"
    #: The model writes a plan.
    PLAN = "plan"
    #: A summary of the model's reasoning; hidden reasoning is never stored.
    REASONING = "reasoning"
    COMMAND = "command"
    FILE_CHANGE = "file_change"
    TOOL = "tool"
    INTERACTION = "interaction"
    CHECKLIST = "checklist"
    #: Codex is reconnecting, rerouting, compacting, warning.
    NOTICE = "notice"
    ERROR = "error"
    #: Something was not written down; the text says what.
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal entry before it has a place. `item_id` is Codex's item it tells of, if any."""

    category: Category
    text: str
    item_id: str | None = None
    #: When it happened, where it is written down later.
    at: Moment | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A journal entry in its place: `seq` counts from 1 without gaps in each operation."""

    seq: int
    at: Moment
    category: Category
    text: str
    item_id: str | None = None
