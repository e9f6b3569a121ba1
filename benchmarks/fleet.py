"""Fleet: hosts that share one queue on PostgreSQL, and what a claim costs each of them.

`python -m benchmarks.fleet [--hosts N ...] [--tasks N]`. Hosts are threads of this process with a
connection each, so their own Python is in each other's way; what is measured is the wall clock.
Each claims one task, moves it through its life, and claims the next. Beside it, the same with
`FOR UPDATE SKIP LOCKED` and no limits at all: what the one writer at a time costs.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import quantiles

from sqlalchemy import Engine, event, text

from benchmarks.guard import task
from codex_control_plane_mcp.model.ids import (
    AppServerId,
    Generation,
    HostId,
    ThreadId,
    TurnId,
    new_operation_id,
)
from codex_control_plane_mcp.model.operation import (
    Claimed,
    Completed,
    Fact,
    Operation,
    Report,
    ThreadBound,
    TurnAccepted,
    TurnIntended,
)
from codex_control_plane_mcp.model.schedule import Limits, Reach
from codex_control_plane_mcp.store import engine, operations, queue, workers
from codex_control_plane_mcp.store.book import Book, Writing, opened
from tests.postgres import FAST, postgres

LIMITS = Limits(everywhere=400, per_project=400, per_agent=400, writing_per_project=400)
Claim = Callable[[HostId, Generation, Writing], list[Operation]]


def claim(host: HostId, generation: Generation, writing: Writing) -> list[Operation]:
    projects = frozenset(writing.connection.scalars(_PROJECTS))
    return queue.claim(writing, generation, LIMITS, Reach(host, projects, 1))


def claim_by_skipping(host: HostId, generation: Generation, writing: Writing) -> list[Operation]:
    ids = writing.connection.scalars(_SKIP).all()
    found = operations.many(writing.connection, ids)
    return [operations.record(writing, one, Claimed(generation, host)) for one in found]


_PROJECTS = text("SELECT DISTINCT project_id FROM operations")
_SKIP = text(
    "SELECT id FROM operations WHERE status = 'queued' AND type <> 'steer_turn'"
    " ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED"
)


def _live(book: Book, operation: Operation) -> None:
    """The writes of a short turn."""
    thread, turn = ThreadId(f"t-{operation.id}"), TurnId(f"u-{operation.id}")
    steps: tuple[tuple[Fact, ...], ...] = (
        (ThreadBound(thread, AppServerId("1@1"), None), TurnIntended(None)),
        (TurnAccepted(turn),),
        (Completed(Report("Done.", turn)),),
    )
    for facts in steps:
        operation = book.write_now(partial(_record, operation, facts))[0]


def _record(operation: Operation, facts: Sequence[Fact], writing: Writing) -> Operation:
    return operations.record(writing, operation, *facts)


class _Host:
    def __init__(self, url: str, number: int, how: Claim, *, pen: bool) -> None:
        self.name = HostId(f"host-{number}")
        self._how = how
        self._pen = pen
        self.statements = 0
        self._opened = opened(url, make=self._make, lock_wait_seconds=120)
        self.book = self._opened.__enter__()
        self._generation = self.book.write_now(
            lambda writing: workers.enter(writing, self.name, 1, "0")
        )[0]
        self.claims: list[float] = []

    def _make(self, writer: Engine, reader: Engine) -> Book:
        if not self._pen:
            event.remove(writer, "begin", engine._take_the_pen)  # noqa: SLF001
        event.listen(writer, "after_cursor_execute", self._count)
        return Book(writer, reader, host=self.name)

    def _count(self, *_: object) -> None:
        self.statements += 1

    def work(self, start: threading.Barrier) -> None:
        self.statements = 0
        start.wait()
        while True:
            began = time.perf_counter()
            taken = self.book.write_now(
                lambda writing: self._how(self.name, self._generation, writing)
            )[0]
            if not taken:
                break
            self.claims.append((time.perf_counter() - began) * 1000)
            for operation in taken:
                _live(self.book, operation)
        self._opened.__exit__(None, None, None)


def measure(hosts: int, tasks: int, how: Claim, *, pen: bool) -> str:
    with postgres((*FAST, "max_connections=300")) as server, server.database() as url:
        with opened(url) as book:
            for first in range(0, tasks, 500):
                book.write_now(partial(_fill, first, min(first + 500, tasks)))
        crew = [_Host(url, number, how, pen=pen) for number in range(hosts)]
        start = threading.Barrier(hosts + 1)
        with ThreadPoolExecutor(hosts) as pool:
            running = [pool.submit(host.work, start) for host in crew]
            start.wait()
            began = time.perf_counter()
            for one in running:
                one.result()
            took = time.perf_counter() - began
    claims = [one for host in crew for one in host.claims]
    cuts = quantiles(claims, n=100)
    statements = sum(host.statements for host in crew) / len(claims)
    return (
        f"{hosts:>5} | {len(claims):>6} | {cuts[49]:>6.1f} | {cuts[98]:>6.1f} | {statements:>10.1f}"
        f" | {len(claims) / took:>6.0f}"
    )


def _fill(first: int, end: int, writing: Writing) -> None:
    for number in range(first, end):
        operations.insert_operation(writing, new_operation_id(writing.now), task(number))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--tasks", type=int, default=2_000)
    given = parser.parse_args()
    sys.stdout.write("hosts |  tasks | p50 ms | p99 ms | statements | ops/s\n")
    for how, pen in ((claim, True), (claim_by_skipping, False)):
        sys.stdout.write(f"{how.__name__}\n")
        for hosts in given.hosts:
            sys.stdout.write(measure(hosts, given.tasks, how, pen=pen) + "\n")
            sys.stdout.flush()
