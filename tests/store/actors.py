"""A book without an event loop, and short ways to what a test begins with."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, text

from codex_control_plane_mcp.clock import Moment, later
from codex_control_plane_mcp.model.ids import (
    HERE,
    AppServerId,
    Generation,
    HostId,
    InteractionId,
    OperationId,
    ProjectId,
    ThreadId,
    TurnId,
    new_interaction_id,
    new_operation_id,
)
from codex_control_plane_mcp.model.interaction import Asked, Interaction, Kind
from codex_control_plane_mcp.model.operation import Fact, Operation
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    DedupPolicy,
    Priority,
    SendMessage,
    StartChat,
    SteerTurn,
    Submission,
    TurnOptions,
)
from codex_control_plane_mcp.store import interactions, journal, lookup, operations, workers
from codex_control_plane_mcp.store.book import Book, Outbox, Writing, opened
from codex_control_plane_mcp.store.engine import LOCK_WAIT_SECONDS

T = TypeVar("T")

NOON: Final = Moment(1_800_000_000_000)
#: What no thread may take longer than. It is reached only by a test that fails.
PATIENCE_SECONDS: Final = 30


@dataclass
class HandClock:
    """A clock that stands until somebody moves it."""

    moment: Moment = NOON

    def now(self) -> Moment:
        return self.moment

    def move(self, seconds: float) -> None:
        self.moment = later(self.moment, seconds)


@dataclass(frozen=True)
class Desk:
    """Writes and reads a book at once, in the thread that asks."""

    book: Book
    clock: HandClock
    where: Path | str
    _numbers: Iterator[int] = field(default_factory=count)

    def write(self, work: Callable[[Writing], T], *, pen: bool = True) -> T:
        return self.book.write_now(work, pen=pen)[0]

    def read(self, work: Callable[[Connection], T]) -> T:
        return self.book.read_now(work)

    def sql(self, statement: str, **values: object) -> None:
        """What a hand at the database's own prompt might do."""
        self.write(lambda writing: writing.connection.execute(text(statement), values))

    def count(self, table: str) -> int:
        query = text(f"SELECT count(*) FROM {table}")  # noqa: S608
        return int(self.read(lambda connection: connection.execute(query).scalar_one()))

    # --- Short ways ---------------------------------------------------------------------------

    def enter(self) -> Generation:
        return self.write(
            lambda writing: workers.enter(writing, f"w-{next(self._numbers)}", 1, "0")
        )

    def submit(self, submission: Submission | None = None) -> Operation:
        """An operation in the queue; by default with words nobody else has used."""
        wanted = submission or self.submission()
        return self.write(
            lambda writing: operations.insert_operation(
                writing, new_operation_id(writing.now), wanted
            )
        )

    def submission(
        self,
        message: str | None = None,
        *,
        project: str = "house",
        thread: str | None = None,
        sandbox: Sandbox = Sandbox.READ_ONLY,
        agent: str | None = None,
        client_request_id: str | None = None,
        priority: Priority = Priority.NORMAL,
        dedup_policy: DedupPolicy = DedupPolicy.ACTIVE_PROMPT_GUARD,
    ) -> Submission:
        options = TurnOptions(sandbox, ApprovalPolicy.ON_REQUEST, model="gpt", effort=None)
        words = f"Errand {next(self._numbers)}" if message is None else message
        cwd, project_id = f"/work/{project}", ProjectId(project)
        request = (
            StartChat(message=words, cwd=cwd, project_id=project_id, options=options, title="Roof")
            if thread is None
            else SendMessage(
                message=words,
                thread_id=ThreadId(thread),
                cwd=cwd,
                project_id=project_id,
                options=options,
            )
        )
        return Submission(request, client_request_id, agent, priority, dedup_policy)

    def steering(self, message: str) -> Submission:
        """More words for the turn of `tests.model.lives`."""
        return Submission(
            SteerTurn(
                message=message,
                thread_id=ThreadId("thread-1"),
                expected_turn_id=TurnId("turn-1"),
                cwd="/work/house",
                project_id=ProjectId("house"),
            )
        )

    def record(self, operation: Operation, *facts: Fact) -> Operation:
        return self.write(lambda writing: operations.record(writing, operation, *facts), pen=False)

    def get(self, operation_id: OperationId) -> Operation:
        operation = self.read(lambda connection: lookup.get(connection, operation_id))
        assert operation is not None
        return operation

    def journal(self, operation_id: OperationId) -> list[str]:
        """The lines of an operation's journal, whose numbers must follow each other from 1."""
        written = self.read(lambda connection: journal.after(connection, operation_id, 0, 10_000))
        assert [entry.seq for entry in written] == list(range(1, len(written) + 1))
        return [entry.text for entry in written]

    def ask(self, operation: Operation, asked: Asked) -> Interaction:
        return self.write(
            lambda writing: interactions.open_interaction(
                writing, new_interaction_id(writing.now), operation.id, asked, None
            ),
            pen=False,
        )

    def interaction(self, interaction_id: InteractionId) -> Interaction:
        found = self.read(lambda connection: interactions.get(connection, interaction_id))
        assert found is not None
        return found


@contextmanager
def desk(
    where: Path | str,
    *,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
    host: HostId = HERE,
    outbox: Outbox | None = None,
) -> Iterator[Desk]:
    """One more process's view of the book at `where`, as far as the database can tell."""
    clock = HandClock()
    with opened(
        where, clock=clock, lock_wait_seconds=lock_wait_seconds, host=host, outbox=outbox
    ) as book:
        yield Desk(book, clock, where)


def a_question(**changes: object) -> Asked:
    known: dict[str, object] = {
        "app_server_id": AppServerId("app-server-1"),
        "request_id": "1",
        "kind": Kind.APPROVAL,
        "method": "item/commandExecution/requestApproval",
        "thread_id": ThreadId("thread-1"),
        "turn_id": TurnId("turn-1"),
        "item_id": "item-1",
        "prompt": "May I run `ls`?",
    }
    return Asked(**(known | changes))  # type: ignore[arg-type]


def all_at_once(how_many: int, work: Callable[[int], T]) -> list[T]:
    """What `work` returns in each of so many threads that set out together."""
    start = threading.Barrier(how_many)

    def run(number: int) -> T:
        start.wait(PATIENCE_SECONDS)
        return work(number)

    with ThreadPoolExecutor(how_many) as pool:
        futures = [pool.submit(run, number) for number in range(how_many)]
        return [future.result(PATIENCE_SECONDS) for future in futures]
