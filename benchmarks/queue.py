"""Queue: what it costs to choose who starts next while 10,000 tasks wait.

In this process, without a worker. Four agents and three projects, half of the tasks may write; a
turn ends, the next one is claimed (with its commit), and the last in the queue is told why it
waits. CPU time: on a busy machine the clock on the wall says more of the others.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.figures import Aim, Figure, spread
from benchmarks.guard import task
from benchmarks.installation import Installation
from benchmarks.stage import Rounds
from codex_control_plane_mcp.model.ids import Generation, ProjectId, new_operation_id
from codex_control_plane_mcp.model.operation import Failed, Operation, Trouble
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import StartChat, Submission, TurnOptions
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import operations, queue, workers
from codex_control_plane_mcp.store.book import Book, Writing, opened

TASKS = 10_000
LIMITS = Limits()


def measure(_installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    tasks, count = rounds.of(TASKS, 1_000), rounds.of(100, 20)
    with (
        tempfile.TemporaryDirectory(prefix="codex-bench-queue-") as folder,
        opened(Path(folder) / "book.sqlite3") as book,
    ):
        generation, last = book.write_now(lambda writing: _fill(writing, tasks))[0]
        claims, waits = [], []
        running = _claim(book, generation)
        for _ in range(count):
            _end(book, running.pop(0))
            began = time.thread_time()
            running += _claim(book, generation)
            claims.append(_milliseconds_since(began))
            waits.append(_milliseconds(lambda: _why(book, last)))
    yield Figure(
        what=f"claim, {tasks} tasks queued", unit="ms", ours=spread(claims), aim=Aim(limit=20)
    )
    yield Figure(
        what="why the last one waits, and its place",
        unit="ms",
        ours=spread(waits),
        aim=Aim(limit=5),
    )


def _fill(writing: Writing, tasks: int) -> tuple[Generation, Operation]:
    generation = workers.enter(writing, "benchmark", 1, "0")
    made = [
        operations.insert_operation(writing, new_operation_id(writing.now), _task(number))
        for number in range(tasks)
    ]
    return generation, made[-1]


def _task(number: int) -> Submission:
    sandbox = Sandbox.WORKSPACE_WRITE if number % 2 else Sandbox.READ_ONLY
    request = StartChat(
        task(number).request.message,
        "/work/shop",
        ProjectId(f"shop-{number % 3}"),
        TurnOptions(sandbox, ApprovalPolicy.ON_REQUEST),
    )
    return replace(task(number), request=request, agent_id=f"agent-{number % 4}")


def _claim(book: Book, generation: Generation) -> list[Operation]:
    return book.write_now(lambda writing: queue.claim(writing, generation, LIMITS))[0]


def _end(book: Book, operation: Operation) -> None:
    ended = Failed(Trouble("CODEX_BUSY", "It is only a benchmark."))
    book.write_now(lambda writing: operations.record(writing, operation, ended))


def _why(book: Book, operation: Operation) -> None:
    book.read_now(lambda reading: queue.waiting(reading, operation, LIMITS, book.now()))


def _milliseconds(call: Callable[[], None]) -> float:
    began = time.thread_time()
    call()
    return _milliseconds_since(began)


def _milliseconds_since(began: float) -> float:
    return (time.thread_time() - began) * 1000
