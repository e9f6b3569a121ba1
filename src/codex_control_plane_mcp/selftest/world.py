"""One simulated world: a state file, a Codex, a client, and worker after worker.

The client is stubborn, as orchestrators are: what was not acknowledged it says again, with the same
`client_request_id`, to the next worker.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup
from sqlalchemy import Engine

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.desk.desk import Desk, limits_of
from codex_control_plane_mcp.desk.interactions import Given
from codex_control_plane_mcp.desk.runtime import NoRuntime
from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.threads import Action
from codex_control_plane_mcp.desk.views import InteractionView, OperationView
from codex_control_plane_mcp.errors import (
    ControlPlaneError,
    InteractionUnavailable,
    StateBusy,
    Unavailable,
)
from codex_control_plane_mcp.model.ids import InteractionId, OperationId
from codex_control_plane_mcp.model.operation import FINAL
from codex_control_plane_mcp.selftest.doom import Doom, Killed, Life, MortalBook, MortalWire
from codex_control_plane_mcp.selftest.fake_codex import AppServer, FakeCodex
from codex_control_plane_mcp.selftest.history import Breach
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import workers
from codex_control_plane_mcp.store.book import Book, opened
from codex_control_plane_mcp.store.operations import Fenced
from codex_control_plane_mcp.store.presence import LOOK_SECONDS
from codex_control_plane_mcp.work.workshop import Rules, Workshop

T = TypeVar("T")

#: 2026-01-31T12:00:00Z: when every simulated history begins.
BEGINNING = 1_769_860_800_000
#: From the death of a worker to the first breath of the next.
RESTART_SECONDS = 0.5
#: Longer than anybody waits for an answer of Codex.
LATE_SECONDS = 45.0
#: The longest a simulated client waits for anything, in virtual seconds.
PATIENCE_SECONDS = 3600.0


#: After so long a client tries again what could not be done just now.
RETRY_SECONDS = 1.0
#: What a client needs to say something.
CALL_SECONDS = 0.01
#: What somebody still does when the client is content, it does within this.
AFTERWARDS_SECONDS = 60.0


class WithIt(Enum):
    """What happens to Codex when a worker dies."""

    #: It does not notice.
    NOTHING = auto()
    #: It dies too.
    CODEX_DIES = auto()
    #: The first time, the next worker reaches another app-server, on the same CODEX_HOME, which
    #: ends after a while: then the former is reached again. It lived and worked all the time.
    ANOTHER_ANSWERS = auto()


class _Compiled(dict[Hashable, Any]):
    """Statements once compiled, for all engines of this process: to compile them anew in each life
    would take a third of the time. A key begins with the engine's own dialect; all of one name are
    alike."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get((key[0].name, *key[1:]), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__((key[0].name, *key[1:]), value)


_COMPILED = _Compiled()


def _quick(engine: Engine) -> Engine:
    return engine.execution_options(compiled_cache=_COMPILED)


class WorldClock:
    """The wall clock of the world, on virtual time."""

    def now(self) -> Moment:
        return Moment(BEGINNING + round(anyio.current_time() * 1000))


class GaveUp(Exception):
    """The client waited longer than any client would."""


@dataclass
class Present:
    """The worker that lives now."""

    desk: Desk
    tasks: TaskGroup
    ended: anyio.Event


@dataclass
class World:
    """Where one history takes place."""

    folder: Path
    doom: Doom = field(default_factory=Doom)
    codex: FakeCodex = field(default_factory=FakeCodex)
    #: Called after every commit that the worker survived or died right after.
    on_commit: Callable[[MortalBook], None] = lambda _: None
    with_it: WithIt = WithIt.NOTHING
    #: A stopped worker sleeps for so long.
    stopped_seconds: float = 0.0
    #: The database that the book is in; None: a file in the folder.
    url: str | None = None
    lives: int = 0
    deaths: int = 0
    _present: Present | None = None
    _changed: anyio.Event = field(default_factory=anyio.Event)

    @property
    def state_db(self) -> Path:
        return self.folder / "state.sqlite3"

    @property
    def book(self) -> Path | str:
        """Where the book is."""
        return self.url or self.state_db

    @property
    def project(self) -> Path:
        return self.folder / "projects" / "shop"

    async def run(self, client: Callable[["Client"], Awaitable[None]]) -> None:
        """Let the client do what it came for, with as many workers as it takes."""
        self.project.mkdir(parents=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._one_worker_after_the_other)
            tasks.start_soon(self._answer_late)
            await client(Client(self))
            # Who sleeps shall wake, and what Codex holds back shall come: also too late it must do
            # no harm.
            await anyio.sleep(self.stopped_seconds + AFTERWARDS_SECONDS)
            tasks.cancel_scope.cancel()

    async def _answer_late(self) -> None:
        """What Codex held back it says at last, when nobody waits for it any more."""
        while True:
            await self.codex.until(lambda: self.codex.held or None)
            await anyio.sleep(LATE_SECONDS)
            self.codex.let_go()

    async def present(self) -> Present:
        """The worker that lives, once one does."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while self._present is None:
                await self._changed.wait()
        return self._present

    async def _one_worker_after_the_other(self) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                self.lives += 1
                ended = anyio.Event()
                tasks.start_soon(self._one_worker, tasks, ended)
                await ended.wait()
                await anyio.sleep(RESTART_SECONDS)

    async def _one_worker(self, tasks: TaskGroup, ended: anyio.Event) -> None:
        """The life of one worker. `ended` is set when another must take its place: it has died, or
        been silent for too long."""
        with anyio.CancelScope() as scope:
            life = Life(self.doom, scope.cancel)

            def stopped() -> None:
                self._retire(ended)
                tasks.start_soon(self._wake_later, life)

            life.on_stop = stopped
            # Fenced: another has taken its place meanwhile, and it leaves. So does who enters and
            # finds no database.
            with _without(Killed, Fenced, StateBusy):
                await self._live(life, ended)
        if life.is_dead:
            self.deaths += 1
            self._harm(tasks)
        self._retire(ended)

    async def _wake_later(self, life: Life) -> None:
        await anyio.sleep(self.stopped_seconds)
        life.wake()

    def _retire(self, ended: anyio.Event) -> None:
        if self._present is not None and self._present.ended is ended:
            self._present = None
        ended.set()

    def _harm(self, tasks: TaskGroup) -> None:
        match self.with_it:
            case WithIt.NOTHING:
                pass
            case WithIt.CODEX_DIES:
                self.codex.server.die()
            case WithIt.ANOTHER_ANSWERS:
                if self.deaths == 1:
                    former = self.codex.server
                    another = self.codex.start_another()
                    tasks.start_soon(self._back_to, former, another)

    async def _back_to(self, former: AppServer, another: AppServer) -> None:
        await anyio.sleep(LATE_SECONDS)
        another.die()
        self.codex.server = former

    async def _live(self, life: Life, ended: anyio.Event) -> None:
        clock = WorldClock()
        name = f"worker-{self.lives}"
        settings = Settings(
            state_db=self.state_db,
            codex_home=self.folder / "codex",
            projects_root=self.folder / "projects",
            sources=MappingProxyType({}),
        )

        @asynccontextmanager
        async def connect() -> AsyncIterator[CodexSession]:
            self.codex.wrap = lambda wire: MortalWire(wire, life)
            async with self.codex.connect() as session:
                yield session

        def mortal(writer: Engine, reader: Engine) -> MortalBook:
            return MortalBook(_quick(writer), _quick(reader), clock, life, self.on_commit)

        with opened(self.book, make=mortal) as book:
            generation = await book.write(
                lambda writing: workers.enter(writing, name, 1, "selftest")
            )
            life.generation = generation
            workshop = Workshop(
                book,
                connect,
                generation,
                Rules(
                    limits_of(settings),
                    settings.worktrees_folder,
                    settings.spool_folder,
                    may_start=lambda: not self.doom.is_out,
                ),
                self.codex.is_gone,
            )
            desk = Desk(book, settings, clock, NoRuntime(), threads=False)
            async with anyio.create_task_group() as tasks:
                if not ended.is_set():
                    self._present = Present(desk, tasks, ended)
                    self._tell()
                if self.doom.cuts:
                    tasks.start_soon(self._look_now_and_then, book)
                await workshop.run()

    async def _look_now_and_then(self, book: Book) -> None:
        """What a host of a fleet does, for nobody was told of a commit that broke the line."""
        while True:
            was_out = self.doom.is_out
            await anyio.sleep(LOOK_SECONDS)
            if was_out:
                book.bell.missed()
            else:
                book.bell.look()

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class Client:
    """Somebody who wants work done and does not give up."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.codex = world.codex
        #: What was acknowledged: each `client_request_id` with the operation it was told.
        self.acknowledged: list[tuple[str | None, OperationId]] = []
        #: What it was told and should not have been.
        self.complaints: list[Breach] = []

    async def submit(self, task: Task) -> OperationId:
        """Hand in a task until it is acknowledged."""
        receipt = await self._call(lambda desk: desk.submit(task))
        operation_id = OperationId(receipt.operation_id)
        self.acknowledged.append((task.client_request_id, operation_id))
        return operation_id

    async def until(
        self, operation_id: OperationId, is_it: Callable[[OperationView], bool]
    ) -> OperationView:
        """Look until the operation is as wanted, or has ended."""
        seen = -1
        with anyio.move_on_after(PATIENCE_SECONDS):
            while True:
                view = await self._look(operation_id, seen)
                if is_it(view) or view.status in FINAL:
                    return view
                seen = view.latest_seq
        raise GaveUp(f"{operation_id} never came to what was waited for")

    async def _look(self, operation_id: OperationId, seen: int) -> OperationView:
        """How it stands now, or, where that was seen already, at the next change."""
        look = Look(operation_id=operation_id, after_seq=max(seen, 0))
        return await self._call(lambda desk: desk.status(look, 45 if seen >= 0 else 0))

    async def end(self, operation_id: OperationId) -> OperationView:
        return await self.until(operation_id, lambda view: view.status in FINAL)

    async def question(self, operation_id: OperationId) -> InteractionView | None:
        """The question it waits with; None when it has ended without one."""
        view = await self.until(operation_id, lambda view: bool(view.pending_interactions))
        return view.pending_interactions[0] if view.pending_interactions else None

    async def answer(self, question: InteractionView, **given: object) -> None:
        """Answer until the answer is stored, or somebody's is."""
        # Unavailable: our own answer, from before the worker died.
        with suppress(InteractionUnavailable):
            await self.answer_as("client", question, given)

    async def answer_as(
        self, by: str, question: InteractionView, given: dict[str, object]
    ) -> object:
        """Raises InteractionUnavailable when somebody was first."""
        wanted = Given(InteractionId(question.interaction_id), given, by)
        return await self._call(lambda desk: desk.answer(wanted))

    async def interrupt(self, operation_id: OperationId) -> None:
        """Want it to end until that is stored."""
        await self._call(lambda desk: desk.interrupt(operation_id, "client"))

    async def act(self, action: Action, thread_id: str) -> None:
        """Have something done with a thread, and wait for its end."""
        receipt = await self._call(lambda desk: desk.act(action, thread_id))
        operation_id = OperationId(receipt.operation_id)
        self.acknowledged.append((None, operation_id))
        await self.end(operation_id)

    async def expects(
        self,
        refusal: type[ControlPlaneError],
        call: Callable[[], Awaitable[object]],
        otherwise: Breach,
    ) -> None:
        """Do what must be refused."""
        try:
            await call()
        except refusal:
            return
        self.complaints.append(otherwise)

    async def _call(self, work: Callable[[Desk], Awaitable[T]]) -> T:
        """Ask the worker, and the next one if it dies over it."""
        # No two calls at one moment: among those chance, in our ids, would say which is first.
        await anyio.sleep(CALL_SECONDS)
        while True:
            present = await self.world.present()
            answer: list[T] = []
            refusal: list[ControlPlaneError] = []
            finished = anyio.Event()

            async def ask(
                present: Present = present,
                answer: list[T] = answer,
                refusal: list[ControlPlaneError] = refusal,
                finished: anyio.Event = finished,
            ) -> None:
                # In the worker's own task group: when it is killed here, it dies as a whole.
                try:
                    answer.append(await work(present.desk))
                except Unavailable:
                    await anyio.sleep(RETRY_SECONDS)
                except ControlPlaneError as error:
                    refusal.append(error)
                finished.set()

            present.tasks.start_soon(ask)
            await _first(finished, present.ended)
            if refusal:
                raise refusal[0]
            if answer:
                return answer[0]


@contextmanager
def _without(*expected: type[BaseException]) -> Iterator[None]:
    """`suppress`, also of those that a task group has wrapped."""
    try:
        yield
    except* expected:
        pass


async def _first(*events: anyio.Event) -> None:
    """Return when one of them has happened."""
    async with anyio.create_task_group() as tasks:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            tasks.cancel_scope.cancel()

        for event in events:
            tasks.start_soon(wait, event)
