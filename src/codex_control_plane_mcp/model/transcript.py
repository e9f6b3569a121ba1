"""What stands in a chat, as people read it: who said or did what, in the order it happened.

A chat may be long, so it is read by leaves. What a leaf is, and what its anchor looks like, is
known only to the record that it comes from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import TurnId


class Role(StrEnum):
    """Whose words they are, or what they tell of; by its public name."""

    USER = "user"
    ASSISTANT = "assistant"
    #: A plan that Codex proposes.
    PLAN = "plan"
    #: Something about the chat itself: its context was compacted, a review began.
    NOTICE = "notice"
    #: A command, a change of files, a call of a tool: with its output.
    TOOL = "tool"
    #: A summary of the model's reasoning, as Codex shows it.
    REASONING = "reasoning"


#: What was said. The rest is how the work was done.
SPOKEN = frozenset({Role.USER, Role.ASSISTANT, Role.PLAN, Role.NOTICE})


@dataclass(frozen=True, slots=True)
class Entry:
    id: str
    turn_id: TurnId | None
    role: Role
    text: str
    at: Moment | None = None
    #: Pictures and the like that came with it.
    attachment_count: int = 0


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part of a chat."""

    #: In the order in which they happened.
    entries: Sequence[Entry]
    #: Where it begins: the leaf can be read again from there, and so can the one on its other
    #: side. None when there is nothing at all.
    anchor: str | None
    #: Where the next one begins, in the direction in which this one was read.
    next: str | None
    #: The leaf on the other side begins with so many of the same entries.
    shared: int = 1
