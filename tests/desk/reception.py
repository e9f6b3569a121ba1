"""A desk over a fresh book, and a stand-in for the workshop that does what tests tell it to.

The stand-in uses the store as the workshop does: it writes facts, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.codex.answering import describe
from codex_control_plane_mcp.codex.inventory import Wanted
from codex_control_plane_mcp.codex.words.questions import NotOurs, read_server_request
from codex_control_plane_mcp.codex.words.things import ChangedFile
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.runtime import (
    AppServerState,
    CodexState,
    CodexWord,
    Library,
    LiveGoal,
    Standing,
)
from codex_control_plane_mcp.model.ids import (
    AppServerId,
    Generation,
    HostId,
    InteractionId,
    OperationId,
    ThreadId,
    TurnId,
    new_interaction_id,
)
from codex_control_plane_mcp.model.interaction import Interaction, InteractionStatus, Kind
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    ApprovalAwaited,
    Cancelled,
    Claimed,
    Completed,
    Fact,
    Interrupted,
    Operation,
    Policy,
    Report,
    Resumed,
    Status,
    ThreadBound,
    TurnAccepted,
    TurnIntended,
    UserInputAwaited,
)
from codex_control_plane_mcp.model.workflow import Sighting
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import book as store_book
from codex_control_plane_mcp.store import interactions, lookup, operations, wishes
from codex_control_plane_mcp.store.book import Book, Writing
from codex_control_plane_mcp.store.wishes import Outcome

APP_SERVER = AppServerId("4711@boot:1")
ME = Generation(1)

COMMAND_APPROVAL = "item/commandExecution/requestApproval"
USER_INPUT = "item/tool/requestUserInput"


@dataclass
class FixedClock:
    """Stands still until a test moves it."""

    at: int = 1_767_225_600_000

    def now(self) -> Moment:
        return Moment(self.at)


@dataclass
class StillRuntime:
    """Nothing runs, but what a test says does."""

    state: AppServerState = field(default_factory=lambda: AppServerState(running=False))
    binary: CodexState = field(default_factory=lambda: CodexState(Path("/opt/codex"), "0.163.0"))
    known: tuple[str, ...] = ()
    #: Whether the app-server answers; None: nobody is connected to it.
    answering: bool | None = None
    #: App-servers that have ended.
    gone: set[AppServerId] = field(default_factory=set)
    #: Where threads work, as Codex says.
    folders: dict[ThreadId, str] = field(default_factory=dict)
    plans: tuple[Sighting, ...] = ()
    goal: LiveGoal | None = None
    #: What Codex says of its threads, while it can be asked.
    shelves: Library | None = None
    #: What Codex says of itself once somebody may ask it.
    word: CodexWord = field(default_factory=CodexWord)
    #: How it was asked: what, for how long, and whether it might be started.
    asked: list[tuple[Wanted, float, bool]] = field(default_factory=list)

    def standing(self) -> Standing:
        return Standing(self.state, self.binary)

    async def answers(self) -> bool | None:
        return self.answering

    def is_gone(self, app_server_id: AppServerId) -> bool:
        return app_server_id in self.gone

    async def codex_projects(self) -> Sequence[str]:
        return self.known

    async def folder_of(self, thread_id: ThreadId) -> str | None:
        return self.folders.get(thread_id)

    async def plans_in(self, thread_id: ThreadId) -> Sequence[Sighting]:
        return self.plans

    async def goal_of(self, thread_id: ThreadId) -> LiveGoal | None:
        return self.goal

    def library(self) -> Library | None:
        return self.shelves

    async def ask_codex(self, wanted: Wanted, seconds: float, *, may_start: bool) -> CodexWord:
        self.asked.append((wanted, seconds, may_start))
        if not (may_start or self.state.running):
            return CodexWord(problem="Codex does not run now")
        return self.word


@dataclass(frozen=True)
class Workshop:
    """Does to operations what Codex would have made of them."""

    book: Book

    async def start(self, operation_id: str, thread: str = "t-1", turn: str = "u-1") -> None:
        policy = Policy("read-only", "on-request", "gpt-test")
        bound = ThreadBound(ThreadId(thread), APP_SERVER, policy)
        accepted = TurnAccepted(TurnId(turn))
        await self.record(operation_id, Claimed(ME), bound, TurnIntended(None), accepted)

    async def say(self, operation_id: str, text: str, item: str = "item-1") -> None:
        await self.record(operation_id, entries=[Entry(Category.ASSISTANT, text, item)])

    async def note(self, operation_id: str, *texts: str) -> None:
        entries = [Entry(Category.COMMAND, text) for text in texts]
        await self.record(operation_id, entries=entries)

    async def complete(self, operation_id: str, report: str = "done", turn: str = "u-1") -> None:
        await self.record(operation_id, Completed(Report(report, TurnId(turn))))

    async def record(
        self, operation_id: str, *facts: Fact, entries: Sequence[Entry] = ()
    ) -> Operation:
        def write(writing: Writing) -> Operation:
            operation = lookup.get(writing.connection, OperationId(operation_id))
            assert operation is not None
            return operations.record(writing, operation, *facts, entries=entries, heard=True)

        return await self.book.write(write)

    async def ask(
        self,
        operation_id: str,
        params: dict[str, Any] | None = None,
        method: str = COMMAND_APPROVAL,
        request_id: int = 1,
        files: Sequence[ChangedFile] = (),
    ) -> InteractionId:
        told = {"threadId": "t-1", "turnId": "u-1", "itemId": "i-1", **(params or {})}
        request = read_server_request(request_id, method, told)
        assert not isinstance(request, NotOurs), request
        asked = describe(request, APP_SERVER, files)
        words = asked.kind in (Kind.USER_INPUT, Kind.ELICITATION)

        def write(writing: Writing) -> InteractionId:
            operation = lookup.get(writing.connection, OperationId(operation_id))
            assert operation is not None
            fact: Fact = UserInputAwaited() if words else ApprovalAwaited()
            operations.record(writing, operation, fact)
            opened = interactions.open_interaction(
                writing, new_interaction_id(writing.now), operation.id, asked, None
            )
            return opened.id

        return await self.book.write(write)

    async def grant_wishes(self) -> list[wishes.Wish]:
        """Deliver every answer, and end what somebody wants ended."""
        wished = await self.book.read(wishes.open_wishes)
        for wish in wished:
            await self.book.write(lambda writing, wish=wish: _grant(writing, wish))  # type: ignore[misc]
        return wished

    async def close(self, interaction_id: str, status: InteractionStatus) -> None:
        def write(writing: Writing) -> None:
            interactions.close_interaction(
                writing, _interaction(writing, InteractionId(interaction_id)), status
            )

        await self.book.write(write)

    async def refuse(self, operation_id: str) -> None:
        """Codex would not have the answer."""
        (wish,) = await self.book.read(wishes.open_wishes)
        await self.book.write(lambda writing: wishes.fulfil(writing, wish, Outcome.REFUSED))


def _grant(writing: Writing, wish: wishes.Wish) -> None:
    operation = lookup.get(writing.connection, wish.operation_id)
    assert operation is not None
    wishes.fulfil(writing, wish, Outcome.DONE)
    if wish.interaction_id is not None:
        interactions.close_interaction(
            writing,
            _interaction(writing, wish.interaction_id),
            InteractionStatus.ANSWERED,
            answered_by=wish.made_by,
            answer=wish.payload,
        )
        if not interactions.open_of(writing.connection, operation.id):
            operations.record(writing, operation, Resumed())
    elif operation.status is Status.QUEUED:
        operations.record(writing, operation, Cancelled())
    else:
        operations.record(writing, operation, Interrupted())


def _interaction(writing: Writing, interaction_id: InteractionId) -> Interaction:
    interaction = interactions.get(writing.connection, interaction_id)
    assert interaction is not None
    return interaction


@dataclass(frozen=True)
class Reception:
    desk: Desk
    book: Book
    workshop: Workshop
    clock: FixedClock
    runtime: StillRuntime
    settings: Settings
    #: A project that tasks may be sent to.
    project: Path


@contextmanager
def reception(
    folder: Path, *, postgres_url: str | None = None, threads: bool = False, **changes: Any
) -> Iterator[Reception]:
    """A desk with one root, `folder/roots`, and one project in it."""
    roots = folder / "roots"
    project = roots / "shop"
    project.mkdir(parents=True)
    given: dict[str, Any] = {
        "state_db": folder / "state.sqlite3",
        "codex_home": folder / "codex",
        "projects_root": roots.resolve(),
        **changes,
    }
    settings = Settings(**given)
    clock, runtime = FixedClock(), StillRuntime()
    where = postgres_url or settings.state_db
    host = HostId(settings.book_host)
    with store_book.opened(where, clock=clock, threads=threads, host=host) as book:
        desk = Desk(book, settings, clock, runtime, threads=threads)
        yield Reception(desk, book, Workshop(book), clock, runtime, settings, project.resolve())
