"""One simulated world: a state file, a Codex, a client, and worker after worker.

The client is stubborn, as orchestrators are: what was not acknowledged it says again, with the same
`client_request_id`, to the next worker.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

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
from codex_control_plane_mcp.desk.views import InteractionView, OperationView
from codex_control_plane_mcp.errors import ControlPlaneError, InteractionUnavailable
from codex_control_plane_mcp.model.ids import InteractionId, OperationId
from codex_control_plane_mcp.model.operation import FINAL, Status
from codex_control_plane_mcp.selftest.doom import Doom, Killed, Life, MortalBook, MortalWire
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import workers
from codex_control_plane_mcp.store.book import opened
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
    lives: int = 0
    _present: Present | None = None
    _changed: anyio.Event = field(default_factory=anyio.Event)

    @property
    def state_db(self) -> Path:
        return self.folder / "state.sqlite3"

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
        while True:
            self.lives += 1
            ended = anyio.Event()
            try:
                with anyio.CancelScope() as scope:
                    await self._live(Life(self.doom, scope.cancel), ended)
            except* Killed:
                pass
            self._present = None
            ended.set()
            await anyio.sleep(RESTART_SECONDS)

    async def _live(self, life: Life, ended: anyio.Event) -> None:
        clock = WorldClock()
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
            return MortalBook(writer, reader, clock, life, self.on_commit)

        with opened(self.state_db, make=mortal) as book:
            generation = await book.write(
                lambda writing: workers.enter(writing, f"worker-{self.lives}", 1, "selftest")
            )
            workshop = Workshop(
                book, connect, generation, Rules(limits_of(settings)), self.codex.is_gone
            )
            desk = Desk(book, settings, clock, NoRuntime(), threads=False)
            async with anyio.create_task_group() as tasks:
                self._present = Present(desk, tasks, ended)
                self._tell()
                await workshop.run()

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
            await self._call(
                lambda desk: desk.answer(
                    Given(InteractionId(question.interaction_id), given, "client")
                )
            )

    async def running(self, operation_id: OperationId) -> OperationView:
        return await self.until(operation_id, lambda view: view.status is Status.RUNNING)

    async def _call(self, work: Callable[[Desk], Awaitable[T]]) -> T:
        """Ask the worker, and the next one if it dies over it."""
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
                except ControlPlaneError as error:
                    refusal.append(error)
                finished.set()

            present.tasks.start_soon(ask)
            await _first(finished, present.ended)
            if refusal:
                raise refusal[0]
            if answer:
                return answer[0]


async def _first(*events: anyio.Event) -> None:
    """Return when one of them has happened."""
    async with anyio.create_task_group() as tasks:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            tasks.cancel_scope.cancel()

        for event in events:
            tasks.start_soon(wait, event)
