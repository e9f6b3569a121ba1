"""What the desk asks of the running program besides the book.

The app answers from what it knows. Only where a caller wants something done in a thread that the
book does not know is Codex asked, and started if it must be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.codex.contract import Methods
from codex_control_plane_mcp.codex.inventory import Inventory, Wanted
from codex_control_plane_mcp.codex.words.things import Page, Thread, Turn
from codex_control_plane_mcp.model.ids import AppServerId, ThreadId
from codex_control_plane_mcp.model.transcript import Leaf
from codex_control_plane_mcp.model.workflow import Sighting


@dataclass(frozen=True, slots=True)
class AppServerState:
    """The app-server as last seen by the worker."""

    running: bool
    pid: int | None = None
    version: str | None = None
    #: `unix`, `websocket` or `stdio`.
    transport: str | None = None
    #: `own`: started by us; `shared`: Codex's own daemon.
    ownership: str | None = None
    started_at: Moment | None = None
    active_turns: int | None = None
    #: Why it is not running although it should be.
    problem: str | None = None
    #: Whether the worker has a line to it that is up.
    connected: bool = False
    #: It is on record, nobody told it to end, and it is not there any more.
    died: bool = False


@dataclass(frozen=True, slots=True)
class CodexState:
    """The Codex binary that would be started."""

    binary: Path | None = None
    version: str | None = None
    #: Why there is none, and what to do.
    problem: str | None = None
    #: Why this version must not be used, as far as it was looked at; and what it does without.
    refused: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """Codex on this machine, in one look."""

    app_server: AppServerState
    codex: CodexState


@dataclass(frozen=True, slots=True)
class LiveGoal:
    """What Codex pursues by itself, in its own words."""

    objective: str
    status: str
    token_budget: int | None
    tokens_used: int


class Library(Protocol):
    """What Codex says of its threads. Every method raises `codex.errors.CodexError`."""

    async def thread(self, thread_id: ThreadId) -> Thread:
        """Raises ThreadNotFound."""
        ...

    async def threads(self, *, archived: bool, cursor: str | None) -> Page[Thread]:
        """Those last worked in first."""
        ...

    async def loaded(self) -> Sequence[ThreadId]:
        """Threads in memory: whatever runs is among them."""
        ...

    async def turns(self, thread_id: ThreadId, cursor: str | None) -> Page[Turn]:
        """Newest first, each with its question and its answer."""
        ...

    async def leaf(self, thread_id: ThreadId, anchor: str | None, *, back: bool) -> Leaf:
        """A part of what stands in a thread, from `anchor` on, or from its beginning, or from its
        end if read `back`wards."""
        ...


@dataclass(frozen=True, slots=True)
class CodexWord:
    """What Codex said when it was asked what it offers."""

    #: Of the installed binary, which may be another than the one that runs.
    version: str | None = None
    methods: Methods | None = None
    #: `None`: it was not asked, or did not answer at all.
    inventory: Inventory | None = None
    #: Why not.
    problem: str | None = None


class RuntimeView(Protocol):
    """Facts about the running program."""

    def standing(self) -> Standing: ...

    async def answers(self) -> bool | None:
        """Whether the app-server answers now; `None` where there is no line to it."""
        ...

    def is_gone(self, app_server_id: AppServerId) -> bool:
        """Whether the process of that name has ended, provably."""
        ...

    async def codex_projects(self) -> Sequence[str]:
        """Folders that Codex knows as projects; empty when it does not answer at once."""
        ...

    async def folder_of(self, thread_id: ThreadId) -> str | None:
        """Where a thread works, by Codex's word; `None` when there is no word to be had.

        Raises ThreadNotFound when Codex knows no such thread.
        """
        ...

    async def plans_in(self, thread_id: ThreadId) -> Sequence[Sighting]:
        """The plans among the last turns of a thread, whoever had them made; empty when Codex does
        not answer at once."""
        ...

    async def goal_of(self, thread_id: ThreadId) -> LiveGoal | None:
        """What Codex pursues in a thread; None too when it does not answer at once."""
        ...

    def library(self) -> Library | None:
        """Whom to ask about threads; `None` while no app-server is at hand. Starts none."""

    async def ask_codex(self, wanted: Wanted, seconds: float, *, may_start: bool) -> CodexWord:
        """What Codex offers, within `seconds` whatever it does. Only with `may_start` is an
        app-server started for it, or a binary asked for its schema."""
        ...


class NoRuntime:
    """Nothing runs: for tools that only look into the book, and for tests."""

    def standing(self) -> Standing:
        return Standing(AppServerState(running=False), CodexState())

    async def answers(self) -> bool | None:
        return None

    def is_gone(self, app_server_id: AppServerId) -> bool:
        return False

    async def codex_projects(self) -> Sequence[str]:
        return ()

    async def folder_of(self, thread_id: ThreadId) -> str | None:
        return None

    async def plans_in(self, thread_id: ThreadId) -> Sequence[Sighting]:
        return ()

    async def goal_of(self, thread_id: ThreadId) -> LiveGoal | None:
        return None

    def library(self) -> Library | None:
        return None

    async def ask_codex(self, wanted: Wanted, seconds: float, *, may_start: bool) -> CodexWord:
        return CodexWord(problem="nothing runs here")
