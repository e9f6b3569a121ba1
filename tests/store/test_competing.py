"""Several workers on one book at the same moments, each with connections of its own: two on SQLite,
four on PostgreSQL. A row has one owner at a time, and no write of a former one gets through."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import Generation, OperationId, ThreadId, TurnId
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Completed,
    Fact,
    Operation,
    Report,
    Status,
    TurnAccepted,
)
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import lookup, operations, queue, wishes, workers
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.operations import Fenced
from tests.model.lives import BOUND, COMPLETED, INTENDED, LIFE
from tests.store.actors import PATIENCE_SECONDS, Desk, all_at_once
from tests.store.actors import desk as desk_at

if TYPE_CHECKING:
    import psycopg

LIMITS = Limits(everywhere=3)
#: How often each worker enters, if it is fenced off so often.
ENTRIES = 4
#: What each of them submits before it enters.
TASKS = 5
#: How long a writer waits for another in tests where one is stuck.
WAIT_SECONDS = 0.4


@pytest.fixture
def crowd(where: Path | str) -> int:
    return 2 if isinstance(where, Path) else 4


# --- A contest ------------------------------------------------------------------------------------


@dataclass
class Contestant:
    """A worker that drives what it gets, and comes back when it was fenced off."""

    desk: Desk
    number: int
    claimed: list[OperationId] = field(default_factory=list)
    adopted: list[OperationId] = field(default_factory=list)
    times_fenced: int = 0

    def work(self) -> None:
        for task in range(TASKS):
            self.desk.submit(self.desk.submission(f"Task {task} of {self.number}."))
        for entry in range(ENTRIES):
            try:
                self._own(f"worker-{self.number}-{entry}")
            except Fenced:
                self.times_fenced += 1
            else:
                return

    def _own(self, name: str) -> None:
        """Work until nothing is left. Raises Fenced when another one has come."""
        me = self.desk.write(lambda writing: workers.enter(writing, name, 1, "0"))
        held = self.desk.write(lambda writing: operations.adopt(writing, me))
        self.adopted += [operation.id for operation in held]
        while True:
            taken = self.desk.write(lambda writing: queue.claim(writing, me, LIMITS), pen=False)
            self.claimed += [operation.id for operation in taken]
            held += taken
            assert len(self.desk.read(queue.active_jobs)) <= LIMITS.everywhere
            if not held:
                return
            moved = self._move(held.pop(0), me)
            if not moved.is_final:
                held.append(moved)

    def _move(self, operation: Operation, me: Generation) -> Operation:
        signed = [Entry(Category.NOTICE, f"By worker generation {me}.")]
        return self.desk.write(
            lambda writing: operations.record(writing, operation, _next(operation), entries=signed),
            pen=False,
        )


def _next(operation: Operation) -> Fact:
    """What happens to it now, in a thread and a turn of its own."""
    match operation.status:
        case Status.STARTING_THREAD:
            return replace(BOUND, thread_id=ThreadId(f"thread of {operation.id}"))
        case Status.STARTING_TURN if operation.intent is None:
            return INTENDED
        case Status.STARTING_TURN:
            return TurnAccepted(TurnId(f"turn of {operation.id}"))
        case _:
            assert operation.turn_id is not None
            return Completed(Report("Done.", operation.turn_id))


@pytest.mark.parametrize("attempt", range(5))
def test_those_who_contend_for_a_book_do_each_thing_once_and_lose_nothing(
    where: Path | str, crowd: int, attempt: int
) -> None:
    """F11."""

    def contend(number: int) -> Contestant:
        with desk_at(where) as mine:
            contestant = Contestant(mine, number)
            contestant.work()
            return contestant

    contestants = all_at_once(crowd, contend)
    with desk_at(where) as desk:
        every = desk.read(lookup.every)
        assert len(every) == crowd * TASKS
        assert {operation.status for operation in every} == {Status.COMPLETED}
        claimed = Counter(id_ for one in contestants for id_ in one.claimed)
        assert claimed == Counter(operation.id for operation in every)
        for operation in every:
            _one_owner_at_a_time(desk.journal(operation.id))
        latest = desk.read(workers.latest)
        assert latest is not None
        # Whoever was fenced off came back, and each of those fenced somebody off.
        assert latest.generation >= crowd


def _one_owner_at_a_time(journal: list[str]) -> None:
    assert journal.count("Taken from the queue.") == 1
    assert sum(line.startswith("Codex runs turn") for line in journal) == 1
    owner: str | None = None
    for line in journal:
        if taken_over := re.fullmatch(r"Taken over by worker generation (\d+)\.", line):
            assert owner is None or int(taken_over[1]) > int(owner)
            owner = taken_over[1]
        elif signed := re.fullmatch(r"By worker generation (\d+)\.", line):
            assert owner in (None, signed[1])
            owner = signed[1]


def test_of_those_who_claim_at_once_only_the_newest_gets_anything(
    where: Path | str, crowd: int
) -> None:
    """They have all entered before, and set out together."""
    with desk_at(where) as desk:
        for _ in range(8):
            desk.submit()

        def enter(number: int) -> tuple[Generation, list[OperationId] | None]:
            with desk_at(where) as mine:
                me = mine.write(lambda writing: workers.enter(writing, f"w-{number}", 1, "0"))
                entered[number].set()
                assert all(one.wait(PATIENCE_SECONDS) for one in entered)
                try:
                    taken = mine.write(lambda writing: queue.claim(writing, me, LIMITS), pen=False)
                except Fenced:
                    return me, None
                return me, [operation.id for operation in taken]

        entered = [Event() for _ in range(crowd)]
        got = dict(all_at_once(crowd, enter))
        assert sorted(got) == list(range(1, crowd + 1))
        newest = got.pop(Generation(crowd))
        assert newest is not None
        assert len(newest) == LIMITS.everywhere
        assert set(got.values()) == {None}


# --- One writes at a time -------------------------------------------------------------------------


@pytest.fixture
def beside(desk: Desk) -> Iterator[Desk]:
    """Another process at the same book; it does not wait for long."""
    if isinstance(desk.where, Path):
        with desk_at(desk.where, lock_wait_seconds=WAIT_SECONDS) as beside:
            yield beside
        return
    with desk_at(desk.where) as beside:
        # However slow the machine is, what ends the waiting is that it waits for a lock.
        event.listen(desk.book._writer, "checkout", _never_idle_for_too_long)
        event.listen(beside.book._writer, "checkout", _never_idle_for_too_long)
        event.listen(beside.book._writer, "checkout", _waits_shortly)
        yield beside


def _never_idle_for_too_long(connection: "psycopg.Connection", *_: object) -> None:
    connection.execute("SET idle_in_transaction_session_timeout = 0")
    connection.commit()


def _waits_shortly(connection: "psycopg.Connection", *_: object) -> None:
    connection.execute(f"SET lock_timeout = {round(WAIT_SECONDS * 1000)}".encode())
    connection.commit()


def test_between_reading_and_writing_what_is_adopted_its_former_owner_cannot_write(
    desk: Desk, beside: Desk
) -> None:
    """Else the new owner would find another row than it has read, and hold itself for replaced."""
    former = desk.enter()
    operation = desk.submit()
    desk.write(lambda writing: queue.claim(writing, former, LIMITS))
    operation = desk.get(operation.id)
    owner = desk.enter()
    tried = []

    def write_beside(*arguments: object) -> None:
        if "generation <" in str(arguments[2]):
            tried.append(operation.id)
            with pytest.raises(StateBusy, match="another process holds"):
                beside.record(operation, BOUND)

    event.listen(desk.book._writer, "after_cursor_execute", write_beside)
    (adopted,) = desk.write(lambda writing: operations.adopt(writing, owner))
    event.remove(desk.book._writer, "after_cursor_execute", write_beside)

    assert tried == [operation.id]
    assert desk.get(operation.id) == adopted
    with pytest.raises(Fenced):
        beside.record(operation, BOUND)


def test_nobody_wishes_anything_of_an_operation_at_the_moment_of_its_end(
    desk: Desk, beside: Desk
) -> None:
    """Else the wish would stay open behind it."""
    operation = desk.record(desk.submit(), *LIFE[Status.RUNNING])

    def wish(writing: Writing) -> None:
        operations.held(writing, [operation.id])
        wishes.wish_cancel(writing, operation.id, "ann")

    def end(writing: Writing) -> None:
        operations.record(writing, operation, COMPLETED)
        assert wishes.open_wishes(writing.connection, operation.id) == []
        with pytest.raises(StateBusy, match="another process holds"):
            beside.write(wish)

    desk.write(end, pen=False)
    assert desk.get(operation.id).status is Status.COMPLETED


# --- Asleep ---------------------------------------------------------------------------------------

#: Owns the book, says so, and writes once more when it is told to.
OWN_AND_WRITE = """
import sys
from pathlib import Path
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import operations, queue
from tests.model.lives import BOUND
from tests.store.actors import desk as desk_at

where = sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1])
with desk_at(where) as desk:
    me = desk.enter()
    (operation,) = desk.write(lambda writing: queue.claim(writing, me, Limits()))
    print(operation.id, flush=True)
    sys.stdin.readline()
    try:
        desk.record(operation, BOUND)
    except operations.Fenced:
        print("fenced")
    try:
        desk.write(lambda writing: queue.claim(writing, me, Limits()))
    except operations.Fenced:
        print("fenced")
"""

#: Stops in the middle of a transaction.
WRITE_BY_HALVES = """
import sys
from codex_control_plane_mcp.errors import StateBusy
from tests.store.actors import desk as desk_at

with desk_at(sys.argv[1], lock_wait_seconds=1) as desk:
    def work(writing):
        print("writing", flush=True)
        sys.stdin.readline()
        writing.connection.exec_driver_sql("SELECT 1")

    try:
        desk.write(work)
    except StateBusy as error:
        print(type(error).__name__)
    desk.submit(desk.submission("Afterwards."))
"""


def _child(program: str, where: Path | str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, str(where)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )


def _first_word_of(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_an_owner_whose_heart_has_not_beaten_for_a_day_is_the_owner(desk: Desk) -> None:
    """F11: silence is no reason to be replaced; only who enters is (decision 0005)."""
    owner = desk.enter()
    operation = desk.submit()
    desk.clock.move(86_400)
    (taken,) = desk.write(lambda writing: queue.claim(writing, owner, LIMITS))
    desk.clock.move(86_400)
    assert desk.record(taken, BOUND).generation == owner
    assert desk.get(operation.id).status is Status.STARTING_TURN


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGSTOP")
def test_who_slept_while_another_took_over_writes_nothing_any_more(where: Path | str) -> None:
    """F11: however long it slept, what counts is that another has entered."""
    with desk_at(where) as desk:
        desk.submit()
        child = _child(OWN_AND_WRITE, where)
        operation_id = OperationId(_first_word_of(child))
        child.send_signal(signal.SIGSTOP)
        owner = desk.enter()
        (adopted,) = desk.write(lambda writing: operations.adopt(writing, owner))
        child.send_signal(signal.SIGCONT)
        said, _ = child.communicate("go on\n", timeout=PATIENCE_SECONDS)

        assert child.returncode == 0
        assert said.split() == ["fenced", "fenced"]
        assert adopted.id == operation_id
        assert desk.get(operation_id) == adopted


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGSTOP")
@pytest.mark.usefixtures("where_postgres_runs")
def test_who_falls_asleep_in_the_middle_of_writing_loses_the_pen(postgres_url: str) -> None:
    """PostgreSQL takes it back. On one machine, over SQLite, a stopped worker keeps it."""
    child = _child(WRITE_BY_HALVES, postgres_url)
    assert _first_word_of(child) == "writing"
    child.send_signal(signal.SIGSTOP)
    with desk_at(postgres_url) as desk:
        desk.submit()
        child.send_signal(signal.SIGCONT)
        said, _ = child.communicate("go on\n", timeout=PATIENCE_SECONDS)

        assert child.returncode == 0
        assert said.split() == ["StateBusy"]
        assert desk.count("operations") == 2
