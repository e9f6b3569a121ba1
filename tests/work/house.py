"""A worker with its book, and tasks as a client sees them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.abc

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.interactions import Given, answer_once
from codex_control_plane_mcp.desk.views import AnswerReceipt
from codex_control_plane_mcp.model.ids import (
    AppServerId,
    Generation,
    OperationId,
    ProjectId,
    ThreadId,
    new_operation_id,
)
from codex_control_plane_mcp.model.interaction import Interaction
from codex_control_plane_mcp.model.journal import Category, Written
from codex_control_plane_mcp.model.operation import FINAL, Operation, Status
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    ANYWHERE,
    DedupPolicy,
    Placement,
    Priority,
    SendMessage,
    StartChat,
    Submission,
    TaskRequest,
    TurnOptions,
)
from codex_control_plane_mcp.model.schedule import Limits, Reach
from codex_control_plane_mcp.store import interactions, journal, lookup, operations, wishes, workers
from codex_control_plane_mcp.store.book import Book, Reading
from codex_control_plane_mcp.store.operations import Fenced
from codex_control_plane_mcp.work.line import Connect
from codex_control_plane_mcp.work.workshop import Rules, Workshop

T = TypeVar("T")

#: 2026-01-31T12:00:00Z.
BASE = 1_769_860_800_000


class WallClock:
    """The machine's clock, on virtual time; somebody may set it."""

    def __init__(self) -> None:
        self.set_back_seconds = 0.0

    def now(self) -> Moment:
        return Moment(BASE + round((anyio.current_time() - self.set_back_seconds) * 1000))


@dataclass(eq=False)
class Worker:
    """One worker at work."""

    generation: Generation
    workshop: Workshop
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    #: What it ended with, if not because it was killed.
    crash: Exception | None = None
    #: Set when it works no more.
    ended: anyio.Event = field(default_factory=anyio.Event)

    def kill(self) -> None:
        """It stops wherever it stands, and says goodbye to nobody."""
        self.scope.cancel()


@dataclass(eq=False)
class House:
    """A book, the way to Codex, and whoever works there."""

    book: Book
    connect: Connect
    is_gone: Callable[[AppServerId], bool]
    tasks: anyio.abc.TaskGroup
    cwd: str = "/project"
    #: How long a test waits for what must come. Virtual seconds are free, real ones are not.
    patience_seconds: float = 3600
    worktrees: Path = Path("/worktrees")
    spool: Path = Path("/dev/null/spool")
    #: What this host of a fleet can run, and whether it may start anything now.
    reach: Callable[[Reading], Reach] | None = None
    may_start: Callable[[], bool] = lambda: True
    workers: list[Worker] = field(default_factory=list)

    async def hire(
        self, *, approval_seconds: float | None = None, limits: Limits | None = None
    ) -> Worker:
        """A new worker takes over, beside those that were not killed."""
        generation = await self.book.write(
            lambda writing: workers.enter(
                writing, f"{self.book.host}-{len(self.workers)}", 1, "test"
            )
        )
        rules = Rules(
            limits or Limits(),
            self.worktrees,
            self.spool,
            approval_seconds,
            self.reach,
            self.may_start,
        )
        workshop = Workshop(self.book, self.connect, generation, rules, self.is_gone)
        worker = Worker(generation, workshop)
        self.workers.append(worker)
        self.tasks.start_soon(self._work, worker)
        return worker

    async def _work(self, worker: Worker) -> None:
        with worker.scope:
            try:
                await worker.workshop.run()
            except Exception as error:  # noqa: BLE001 - the test says whether it may
                worker.crash = error
        worker.ended.set()

    def look_for_crashes(self) -> None:
        """Nobody may have crashed; who is not the newest may have been fenced off."""
        for worker in self.workers:
            match worker.crash:
                case None:
                    pass
                case ExceptionGroup() as group if worker is not self.worker:
                    rest = group.split(Fenced)[1]
                    if rest is not None:
                        raise rest
                case crash:
                    raise crash

    @property
    def worker(self) -> Worker:
        """The newest."""
        return self.workers[-1]

    async def submit(
        self,
        message: str = "Do it.",
        *,
        thread_id: str | None = None,
        sandbox: Sandbox = Sandbox.READ_ONLY,
        title: str | None = None,
        project: str = "project-1",
        model: str | None = None,
        agent_id: str | None = None,
        priority: Priority = Priority.NORMAL,
        resource_keys: tuple[str, ...] = (),
        placement: Placement = ANYWHERE,
    ) -> "Task":
        """Put a task into the queue, as the desk does."""
        options = TurnOptions(sandbox, ApprovalPolicy.ON_REQUEST, model=model)
        project_id = ProjectId(project)
        request = (
            StartChat(message, self.cwd, project_id, options, title)
            if thread_id is None
            else SendMessage(message, ThreadId(thread_id), self.cwd, project_id, options)
        )
        return await self.enter(request, agent_id, priority, resource_keys, placement)

    async def enter(
        self,
        request: TaskRequest,
        agent_id: str | None = None,
        priority: Priority = Priority.NORMAL,
        resource_keys: tuple[str, ...] = (),
        placement: Placement = ANYWHERE,
    ) -> "Task":
        """Put a request of any kind into the queue."""
        submission = Submission(
            request,
            agent_id=agent_id,
            priority=priority,
            dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY,
            resource_keys=resource_keys,
            placement=placement,
        )
        operation = await self.book.write(
            lambda writing: operations.insert_operation(
                writing, new_operation_id(writing.now), submission
            )
        )
        return Task(operation.id, self)


@dataclass(frozen=True, slots=True)
class Task:
    """One operation, as whoever submitted it sees it."""

    id: OperationId
    house: House

    async def now(self) -> Operation:
        operation = await self.house.book.read(lambda reading: lookup.get(reading, self.id))
        assert operation is not None
        return operation

    async def becomes(self, *wanted: Status) -> Operation:
        """Wait until it stands there. What has ended otherwise never will."""

        def look(operation: Operation) -> Operation | None:
            assert operation.status in wanted or not operation.is_final, operation
            return operation if operation.status in wanted else None

        return await self.until(look)

    async def ends(self) -> Operation:
        return await self.becomes(*FINAL)

    async def until(self, look: Callable[[Operation], T | None]) -> T:
        """Wait until there is something to see in it."""
        with (
            suppress(TimeoutError),
            anyio.fail_after(self.house.patience_seconds),
            self.house.book.bell.listening(self.id) as change,
        ):
            while (seen := look(await self.now())) is None:
                await change.wait()
            return seen
        lines = "\n".join(f"{line.category}: {line.text}" for line in await self.journal())
        raise AssertionError(f"it never came: {await self.now()}\n{lines}")

    async def asks(self, count: int = 1) -> Sequence[Interaction]:
        """Wait until so many questions wait for an answer."""
        with (
            anyio.fail_after(self.house.patience_seconds),
            self.house.book.bell.listening(self.id) as change,
        ):
            while len(found := await self.open_questions()) != count:
                await change.wait()
            return found

    async def asked(self) -> Interaction:
        """Wait for the one question that waits for an answer."""
        (question,) = await self.asks()
        return question

    async def open_questions(self) -> list[Interaction]:
        return await self.house.book.read(lambda reading: interactions.open_of(reading, self.id))

    async def question(self, interaction: Interaction) -> Interaction:
        """What has become of a question."""
        found = await self.house.book.read(
            lambda reading: interactions.get(reading, interaction.id)
        )
        assert found is not None
        return found

    async def answer(
        self, interaction: Interaction, *, by: str = "anna", **given: object
    ) -> AnswerReceipt:
        return await answer_once(self.house.book, Given(interaction.id, given, by))

    async def interrupt(self) -> None:
        """Wish for its end; Codex has not heard of it when this returns."""
        await self.house.book.write(
            lambda writing: wishes.wish_cancel(writing, self.id, made_by="anna")
        )

    async def journal(self) -> list[Written]:
        return await self.house.book.read(
            lambda reading: journal.after(reading, self.id, 0, 100_000)
        )

    async def lines(self, category: Category) -> list[str]:
        return [line.text for line in await self.journal() if line.category is category]

    async def said(self) -> str:
        """All that the model said, as the journal has it."""
        return "".join(await self.lines(Category.ASSISTANT))
