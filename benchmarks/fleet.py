"""Fleet: hosts that share one queue on PostgreSQL, and what a claim costs each of them.

`python -m benchmarks.fleet [--hosts N ...] [--tasks N] [--seconds N] [--turn SECONDS] [--only WAY]
[--durable]`

Each host is a process with a place in the fleet (its lock, its ear, its own connections), and does
what a worker does: it looks when the bell rings, claims what may start, and writes down a turn's
life. There is no Codex: a turn is a wait. Two ways:

- full: a host has one turn at a time, and it takes no time. All write without a pause.
- paced: a host has four turns at a time, each of about `--turn` seconds, and writes down every few
  seconds what was said. That is a fleet at full capacity, with a full queue.

A claim is timed from the moment at which a host sets out to look until it has what it takes.

A third way, `wait`: one host ends turns, and at another somebody waits for each of them. It is
timed from the commit of the end until the waiter has the answer.
"""

import argparse
import math
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import psutil
from sqlalchemy import Engine, create_engine, event, make_url, text

from benchmarks.figures import spread
from benchmarks.guard import task
from codex_control_plane_mcp.app.fleet import OTHERS_SECONDS
from codex_control_plane_mcp.desk.submit import enter
from codex_control_plane_mcp.desk.wait import attention
from codex_control_plane_mcp.model.ids import AppServerId, Generation, HostId, ProjectId, ThreadId
from codex_control_plane_mcp.model.ids import TurnId as Turn
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Claimed,
    Completed,
    Operation,
    Report,
    ThreadBound,
    TurnAccepted,
    TurnIntended,
)
from codex_control_plane_mcp.model.request import StartChat, Submission
from codex_control_plane_mcp.model.schedule import Limits, Reach
from codex_control_plane_mcp.store import hosts, lookup, operations, queue, workers
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Book, Reading, Writing, opened
from codex_control_plane_mcp.store.presence import present
from codex_control_plane_mcp.work.case import Case
from tests.postgres import FAST, Postgres, postgres

#: Not what holds anybody back here; they are counted all the same.
LIMITS = Limits(everywhere=400, per_project=400, per_agent=400, writing_per_project=400)
PROJECTS, AGENTS = 5, 10
PROJECTS_THERE = [hosts.Project(ProjectId(f"shop-{one}"), "/shop") for one in range(PROJECTS)]
#: So often a turn says something that is written down.
SAID_SECONDS = 5.0
#: So many turns are waited for at another host, and so many end in a second.
WAITS, WAITS_A_SECOND = 400, 20
#: Only a run that fails waits so long.
WAIT_SECONDS = 120
#: Of what is submitted so many by themselves, to count statements, and the others together.
ALONE, AT_ONCE = 50, 500
#: Hosts stay for so long after they have counted.
LINGER_SECONDS = 1.5
#: After the hosts have started, and before anything is counted.
SETTLE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How a fleet works, and when that counts; on the machine's monotonic clock."""

    capacity: int
    #: About; 0: none, and nothing is said in it.
    turn_seconds: float
    begins_at: float
    counts_from: float
    ends_at: float

    @property
    def counts(self) -> bool:
        return self.counts_from <= time.monotonic() < self.ends_at


@dataclass(slots=True)
class Tally:
    """What one host did while it counted."""

    #: Milliseconds.
    claims: list[float] = field(default_factory=list)
    ended: int = 0
    looks: int = 0
    cpu_seconds: float = 0.0
    #: By what they were for.
    statements: Counter[str] = field(default_factory=Counter)


class Host:
    """One host of the fleet."""

    def __init__(self, url: str, number: int, pace: Pace) -> None:
        self._url = url
        self._name = HostId(f"host-{number}")
        self._number = number
        self._pace = pace
        self._dice = Random(number)  # noqa: S311
        self.tally = Tally()
        self._generation = Generation(0)
        self._asked_at = -math.inf
        self._others: tuple[Reach, ...] = ()

    async def run(self) -> Tally:
        with opened(self._url, make=self._make, lock_wait_seconds=120) as book:
            number, self._generation = await book.write(self._enter)

            async def look_around() -> None:
                await book.write(lambda writing: hosts.hear(writing, None, PROJECTS_THERE))

            await look_around()
            async with (
                present(self._url, book, number, look_around),
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(self._count_cpu)
                # Not all at the same moment: turns do not begin so, either.
                apart = self._dice.random() * max(self._pace.turn_seconds, 0.1)
                await anyio.sleep(max(0.0, self._pace.begins_at - time.monotonic()) + apart)
                with anyio.move_on_after(self._pace.ends_at - time.monotonic()):
                    await self._work(book, tasks)
                # The server's time is read before its processes end.
                await anyio.sleep(LINGER_SECONDS)
                tasks.cancel_scope.cancel()
        return self.tally

    async def _count_cpu(self) -> None:
        await anyio.sleep(self._pace.counts_from - time.monotonic())
        before = time.process_time()
        await anyio.sleep(self._pace.ends_at - time.monotonic())
        self.tally.cpu_seconds = time.process_time() - before

    def _make(self, writer: Engine, reader: Engine) -> Book:
        for engine in (writer, reader):
            event.listen(engine, "after_cursor_execute", self._count)
        return Book(writer, reader, host=self._name)

    def _count(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        if self._pace.counts:
            kind = "notify" if "pg_notify" in statement else "other"
            self.tally.statements[kind] += 1

    def _enter(self, writing: Writing) -> tuple[int, Generation]:
        card = hosts.Card(f"mark of {self._name}", f"/homes/{self._name}", self._pace.capacity)
        generation = workers.enter(writing, self._name, self._number, "0")
        return hosts.enrol(writing, card), generation

    def _reach(self, reading: Reading) -> Reach:
        known = lookup.projects(reading)
        if time.monotonic() - self._asked_at >= OTHERS_SECONDS:
            self._asked_at = time.monotonic()
            self._others = hosts.others(reading, besides=self._name)
        mine = frozenset(id_ for id_, _, _ in known)
        return Reach(self._name, mine, self._pace.capacity, others=self._others)

    async def _work(self, book: Book, tasks: anyio.abc.TaskGroup) -> None:
        with book.bell.listening(about=Subject.QUEUE) as change:
            while True:
                began, counts = time.perf_counter(), self._pace.counts
                taken = await self._take(book)
                self.tally.looks += counts
                if taken and counts:
                    self.tally.claims.append((time.perf_counter() - began) * 1000)
                for operation in taken:
                    tasks.start_soon(self._live, Case(operation, book))
                await change.wait()

    async def _take(self, book: Book) -> list[Operation]:
        """As the workshop does."""
        seen = await book.read(
            lambda reading: queue.look(reading, self._name, LIMITS, book.now(), self._reach)
        )
        taken = []
        if seen.startable:
            taken = await book.write(
                lambda writing: queue.claim(writing, self._generation, LIMITS, self._reach, seen),
                pen=False,
            )
        return taken

    async def _live(self, case: Case) -> None:
        """What is written in the life of a turn."""
        id_ = case.operation.id
        thread, turn = ThreadId(f"t-{id_}"), Turn(f"u-{id_}")
        bound = ThreadBound(thread, AppServerId("1@1"), None)
        await case.record_unless_unwanted(bound, TurnIntended(None))
        await case.record(TurnAccepted(turn))
        ends_at = anyio.current_time() + self._pace.turn_seconds * (0.5 + self._dice.random())
        while (left := ends_at - anyio.current_time()) > 0:
            await anyio.sleep(min(left, SAID_SECONDS))
            if left > SAID_SECONDS:
                await case.note(Category.ASSISTANT, "Something was said. " * 20)
                if self._pace.counts:
                    self.tally.statements["said"] += 1
        await case.end(Completed(Report("Done.", turn)), entries=[Entry(Category.ASSISTANT, "Ok.")])
        self.tally.ended += self._pace.counts


def _host(url: str, pace: Pace, number: int) -> Tally:
    return anyio.run(Host(url, number, pace).run)


# --- Two hosts, one of which waits ----------------------------------------------------------------


async def wait_across(url: str) -> list[float]:
    """For each of some turns, how many milliseconds after its end a waiter at another host knew."""
    late: list[float] = []
    dice = Random(0)  # noqa: S311

    async def one(number: int, east: Book, west: Book) -> None:
        operation = await east.write(partial(_begun, number))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end, operation, east)
            await attention(west, operation.id, WAIT_SECONDS, frozenset())
            late.append((time.perf_counter() - ended_at[operation.id]) * 1000)

    async def end(operation: Operation, east: Book) -> None:
        await anyio.sleep(1 + dice.random() * WAITS / WAITS_A_SECOND)
        done = Completed(Report("Done.", Turn(f"u-{operation.id}")))
        await Case(operation, east).end(done)
        ended_at[operation.id] = time.perf_counter()

    async with AsyncExitStack() as stack:
        ended_at: dict[str, float] = {}
        books = []
        for name in ("east", "west"):
            book = stack.enter_context(opened(url, host=HostId(name)))
            card = hosts.Card(f"mark of {name}", f"/homes/{name}", WAITS)
            number = await book.write(partial(hosts.enrol, card=card))
            await stack.enter_async_context(present(url, book, number, anyio.lowlevel.checkpoint))
            books.append(book)
        east, west = books
        async with anyio.create_task_group() as tasks:
            for number in range(WAITS):
                tasks.start_soon(one, number, east, west)
    return late


def _begun(number: int, writing: Writing) -> Operation:
    operation = enter(writing, _task(number)).operation
    thread, turn = ThreadId(f"t-{operation.id}"), Turn(f"u-{operation.id}")
    bound = ThreadBound(thread, AppServerId("1@1"), None)
    begun = (Claimed(Generation(1), writing.host), bound, TurnIntended(None), TurnAccepted(turn))
    return operations.record(writing, operation, *begun)


# --- The fleet ------------------------------------------------------------------------------------


def measure(server: Postgres, url: str, count: int, seconds: float, turn: float) -> str:
    begins_at = time.monotonic() + SETTLE_SECONDS + 0.15 * count
    counts_from = begins_at + 1.5 * turn + 1
    pace = Pace(4 if turn else 1, turn, begins_at, counts_from, counts_from + seconds)
    with ProcessPoolExecutor(count, multiprocessing.get_context("fork")) as pool:
        running = [pool.submit(_host, url, pace, number) for number in range(count)]
        time.sleep(max(0.0, pace.counts_from - time.monotonic()))
        database, machine = _database_cpu(server), psutil.cpu_times()
        time.sleep(max(0.0, pace.ends_at - time.monotonic()))
        database = _database_cpu(server) - database
        idle = psutil.cpu_times().idle - machine.idle
        tallies = [one.result() for one in running]
    claims = [claim for one in tallies for claim in one.claims]
    ended = sum(one.ended for one in tallies)
    kinds = sum((one.statements for one in tallies), Counter[str]())
    shown, per = spread(claims), 1 / max(1, ended)
    cores = psutil.cpu_count() or 1
    # A line that was said is one statement.
    life = kinds["other"] - kinds["said"]
    return (
        f"{count:>5} | {len(claims):>6} | {shown.median:>6.1f} | {shown.p99:>7.1f}"
        f" | {ended / seconds:>6.1f} | {life * per:>10.1f} | {kinds['notify'] * per:>6.1f}"
        f" | {sum(one.looks for one in tallies) * per:>5.1f} | {database * per * 1000:>7.1f}"
        f" | {sum(one.cpu_seconds for one in tallies) * per * 1000:>10.1f}"
        f" | {100 - 100 * idle / (seconds * cores):>4.0f}"
        f" | {100 * (database + sum(one.cpu_seconds for one in tallies)) / (seconds * cores):>5.0f}"
    )


HEADER = (
    "hosts | claims | p50 ms |  p99 ms |  ops/s | statements | notify | looks | db ms/op"
    " | hosts ms/op | cpu % | our %"
)


def _database_cpu(server: Postgres) -> float:
    """Seconds that the server has taken, those of processes that have ended included."""
    postmaster = psutil.Process(server.pid)
    own = postmaster.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in postmaster.children():
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return total


def fill(url: str, tasks: int) -> float:
    """Submit the tasks; returns how many statements that took for each."""
    counted = Counter[str]()

    def count(*_: object) -> None:
        counted["all"] += 1

    def make(writer: Engine, reader: Engine) -> Book:
        event.listen(writer, "after_cursor_execute", count)
        return Book(writer, reader)

    with opened(url, make=make) as book:
        counted.clear()
        for number in range(ALONE):
            book.write_now(partial(_submit, number, number + 1))
        each = counted["all"] / ALONE
        for number in range(ALONE, tasks, AT_ONCE):
            book.write_now(partial(_submit, number, min(tasks, number + AT_ONCE)))
    _settle(url)
    return each


def _submit(first: int, end: int, writing: Writing) -> None:
    for number in range(first, end):
        enter(writing, _task(number))


def _task(number: int) -> Submission:
    wanted = task(number)
    assert isinstance(wanted.request, StartChat)
    request = replace(wanted.request, project_id=ProjectId(f"shop-{number % PROJECTS}"))
    return replace(wanted, request=request, agent_id=f"agent-{number % AGENTS}")


@contextmanager
def _copy(server: Postgres, of: str, name: str) -> Iterator[str]:
    """Another database with the same in it."""
    engine = create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT")
    template = make_url(of).database
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        try:
            yield server.url(name)
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def _settle(url: str) -> None:
    """What the server does by itself a minute after so much was written."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 10, 25, 50])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--turn", type=float, default=20.0)
    parser.add_argument("--only", choices=["full", "paced", "wait"])
    parser.add_argument("--durable", action="store_true", help="the server waits for the disk")
    given = parser.parse_args(arguments)
    settings = (*(() if given.durable else FAST), "max_connections=800", "shared_buffers=512MB")
    with postgres(settings) as server, server.database() as full:
        if given.only in (None, "wait"):
            with server.database() as url:
                late = spread(anyio.run(wait_across, url))
            _say(f"wait: p50 {late.median:.0f} ms, p99 {late.p99:.0f} ms of {late.count}")
        if given.only == "wait":
            return
        _say(f"{fill(full, given.tasks):.1f} statements for each of {given.tasks} submissions")
        for way, turn in (("full", 0.0), ("paced", given.turn)):
            if given.only not in (None, way):
                continue
            _say(f"{way}\n{HEADER}")
            for count in given.hosts:
                with _copy(server, full, f"run_{way}_{count}") as url:
                    _say(measure(server, url, count, given.seconds, turn))


def _say(line: Any) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
