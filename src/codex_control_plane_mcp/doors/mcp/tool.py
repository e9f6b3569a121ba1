"""What a tool is: its name, what it says, takes, shows and may do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.mcp.arguments import Arguments
from codex_control_plane_mcp.doors.mcp.fit import MAX_RESULT_CHARS, Shorten
from codex_control_plane_mcp.settings import ToolSet

#: A result that a client shall take as a whole: ours, and room for the escapes of its JSON.
LARGEST_RESULT_CHARS = 2 * MAX_RESULT_CHARS

A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a tool found: views side by side, and how to shorten them if they are too long."""

    views: tuple[object, ...]
    rules: Sequence[Shorten] = ()


@dataclass(frozen=True, slots=True)
class Hints:
    """What a client may rely on when it decides whether to ask its person first.

    Codex asks for everything that is destructive, and for what is neither read-only nor confined
    to this machine's state.
    """

    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False


READS = Hints(read_only=True, idempotent=True)


@dataclass(frozen=True, slots=True)
class Tool(Generic[A]):
    name: str
    description: str
    arguments: type[A]
    #: What its output schema spells out: views, or what they extend. A result may say more.
    shows: tuple[type, ...]
    hints: Hints
    call: Callable[[Desk, A, str], Awaitable[Shown]]
    toolset: ToolSet = field(kw_only=True)
    #: How deep its output schema is spelled out.
    depth: int = 1
    #: May be sent again when its answer was lost.
    repeatable: bool = False
    #: May be sent again when it bears a `client_request_id`.
    keyed: bool = False
    #: Its result may hold a report or a plan, which is to be read as it is.
    reports: bool = False
    #: False: of the older surface, kept for clients that know it.
    stable: bool = True

    @property
    def meta(self) -> Mapping[str, object]:
        """What Claude Code reads: the core is at hand without a search for it, and a page of a
        report is not put aside into a file. Other clients pass over it."""
        always = {"anthropic/alwaysLoad": True} if self.toolset == "core" else {}
        return (
            {**always, "anthropic/maxResultSizeChars": LARGEST_RESULT_CHARS}
            if self.reports
            else always
        )
