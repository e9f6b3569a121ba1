"""On PostgreSQL several write at the same moments: each of its own operations, and claims beside
them. No limit is passed, and no reader misses a line, in whatever order transactions end."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from random import Random
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import (
    AppServerId,
    Generation,
    HostId,
    OperationId,
    ThreadId,
    TurnId,
)
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Completed,
    Operation,
    Report,
    Status,
    ThreadBound,
    TurnAccepted,
)
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.schedule import Limits, Reach
from codex_control_plane_mcp.store import journal, lookup, operations, queue, workers
from codex_control_plane_mcp.store.book import Reading, Writing
from codex_control_plane_mcp.store.notices import Notices
from codex_control_plane_mcp.store.operations import Fenced
from tests.model.lives import INTENDED, LIFE
from tests.store.actors import Desk, all_at_once
from tests.store.actors import desk as desk_at
from tests.work.limits import LimitWatch
from tests.work.limits import active as all_active

pytestmark = pytest.mark.usefixtures("where_postgres_runs")

PROJECTS = frozenset({"house", "garden", "attic"})
LIMITS = Limits(everywhere=5, per_project=3, per_agent=2, writing_per_project=1)
HOSTS = 6
CAPACITY = 2
_NUMBERS = count()


@pytest.fixture
def url(where: str) -> str:
    return where


@contextmanager
def host(url: str, number: int, limits: Limits = LIMITS) -> Iterator["Host"]:
    name = HostId(f"host-{number}")
    with desk_at(url, host=name, lock_wait_seconds=20) as desk:
        worker = f"worker {next(_NUMBERS)}"
        me = desk.write(lambda writing: workers.enter(writing, worker, 1, "0"))
        yield Host(desk, name, me, limits)


class Host:
    """Takes what it may, and brings it to its end."""

    def __init__(self, desk: Desk, name: HostId, me: Generation, limits: Limits) -> None:
        self.desk = desk
        self.held: list[Operation] = []
        self.watch = LimitWatch(limits)
        self._name = name
        self._me = me

    def reach(self, _: Reading) -> Reach:
        return Reach(self._name, PROJECTS, CAPACITY)

    def look(self) -> queue.Outlook:
        now, limits = self.desk.clock.now(), self.watch.limits
        return self.desk.read(
            lambda reading: queue.look(reading, self._name, limits, now, self.reach)
        )

    def claim(self, seen: queue.Outlook | None = None) -> list[Operation]:
        def work(writing: Writing) -> list[Operation]:
            taken = queue.claim(writing, self._me, self.watch.limits, self.reach, seen)
            # Nobody else starts anything until this is committed, and ends only make room.
            self.watch.see(all_active(writing.connection))
            return taken

        taken = self.desk.write(work, pen=False)
        self.held += taken
        return taken

    def run(self, chance: Random, is_over: Event) -> list[OperationId]:
        """Until nothing is left in the queue, or another one has failed."""
        claimed: list[OperationId] = []
        while not is_over.is_set() and ((seen := self.look()).has_any or self.held):
            if seen.startable:
                claimed += [one.id for one in self.claim(seen)]
            if self.held:
                self.end(self.held.pop(chance.randrange(len(self.held))))
            assert sum(one.host == self._name for one in self.desk.read(all_active)) <= CAPACITY
        return claimed

    def end(self, operation: Operation) -> None:
        turn = TurnId(f"turn of {operation.id}")
        bound = ThreadBound(
            operation.thread_id or ThreadId(f"thread of {operation.id}"), AppServerId("1@1"), None
        )
        operation = self.desk.record(operation, bound, INTENDED)
        operation = self.desk.record(operation, TurnAccepted(turn))
        self.desk.record(operation, _ended(turn))


def _fill(desk: Desk, chance: Random, tasks: int) -> None:
    for _ in range(tasks):
        submission = desk.submission(
            project=chance.choice(sorted(PROJECTS)),
            # Of the same threads, of which only one turn runs at a time.
            thread=chance.choice([None, None, "thread-1", "thread-2"]),
            sandbox=chance.choice([Sandbox.READ_ONLY, Sandbox.WORKSPACE_WRITE]),
            agent=chance.choice(["ann", "bob", None]),
        )
        keys = chance.choice([(), (), ("src",), ("src/api",), ("docs",)])
        desk.submit(replace(submission, resource_keys=keys))


def _dice(seed: int) -> Random:
    return Random(seed)  # noqa: S311


def _ended(turn: TurnId) -> Completed:
    return Completed(Report("Done.", turn))


# --- Limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["postgres"], indirect=True)
@pytest.mark.parametrize("seed", range(2))
def test_no_limit_is_passed_by_hosts_that_claim_at_once(url: str, seed: int) -> None:
    with desk_at(url) as desk:
        _fill(desk, _dice(seed), tasks=30)
        watch, is_over = LimitWatch(LIMITS), Event()
        most: list[int] = []

        def contend(number: int) -> list[OperationId]:
            if number == HOSTS:  # Looks at what is committed, all the while.
                while not is_over.is_set():
                    watch.look(desk.book)
                return []
            try:
                with host(url, number) as mine:
                    claimed = mine.run(_dice(100 * seed + number), is_over)
                    assert mine.watch.broken == []
                    most.append(mine.watch.most["everywhere"])
            except BaseException:
                is_over.set()
                raise
            if len(most) == HOSTS:
                is_over.set()
            return claimed

        # Threads of other hosts are bound to nobody: whoever has the project takes them.
        desk.sql("UPDATE operations SET host = NULL")
        claimed = Counter(id_ for ids in all_at_once(HOSTS + 1, contend) for id_ in ids)
        assert watch.broken == []
        assert max(most) > LIMITS.writing_per_project  # They did run beside each other.
        every = desk.read(lookup.every)
        assert claimed == Counter(one.id for one in every)
        assert {one.status for one in every} == {Status.COMPLETED}
        for one in every:
            assert sum("Taken from the queue" in line for line in desk.journal(one.id)) == 1


@pytest.mark.parametrize("where", ["postgres"], indirect=True)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["look", "claim", "end", "submit"]), st.integers(0, 2)),
        min_size=4,
        max_size=24,
    )
)
def test_what_a_host_saw_is_acted_on_only_as_long_as_it_is_so(
    url: str, steps: list[tuple[str, int]]
) -> None:
    """However looks, claims, ends and new tasks of three hosts follow each other."""
    limits, chance = Limits(everywhere=3, per_project=2, per_agent=2), _dice(1)
    with ExitStack() as stack:
        desk = stack.enter_context(desk_at(url))
        for table in ("journal", "operations", "workers"):
            desk.sql(f"DELETE FROM {table}")  # noqa: S608
        hosts = [stack.enter_context(host(url, number, limits)) for number in range(3)]
        seen: list[queue.Outlook | None] = [None] * 3
        _fill(desk, chance, 4)
        desk.sql("UPDATE operations SET host = NULL")
        for step, number in steps:
            one = hosts[number]
            match step:
                case "look":
                    seen[number] = one.look()
                case "claim":
                    one.claim(seen[number])
                case "end" if one.held:
                    one.end(one.held.pop())
                case "submit":
                    _fill(desk, chance, 1)
                case _:
                    pass
            assert one.watch.broken == []


@pytest.mark.parametrize("where", ["postgres"], indirect=True)
def test_what_was_seen_before_another_host_claimed_is_looked_at_anew(url: str) -> None:
    limits = Limits(everywhere=1)
    with host(url, 1, limits) as east, host(url, 2, limits) as west:
        first, second = east.desk.submit(), east.desk.submit()
        seen = west.look()
        assert [one.id for one in seen.startable] == [first.id]
        (taken,) = east.claim(east.look())
        assert taken.id == first.id
        assert west.claim(seen) == []
        east.end(taken)
        assert [one.id for one in west.claim(seen)] == [second.id]


@pytest.mark.parametrize("where", ["postgres"], indirect=True)
def test_what_ended_in_the_queue_since_it_was_seen_is_not_started(url: str) -> None:
    with host(url, 1) as east:
        first, second = east.desk.submit(), east.desk.submit()
        seen = east.look()
        east.desk.record(first, LIFE[Status.CANCELLED][-1])
        assert [one.id for one in east.claim(seen)] == [second.id]


@pytest.mark.parametrize("where", ["postgres"], indirect=True)
def test_who_was_replaced_since_it_looked_claims_nothing(url: str) -> None:
    with host(url, 1) as former:
        former.desk.submit()
        seen = former.look()
        with host(url, 1) as present:
            with pytest.raises(Fenced):
                former.claim(seen)
            assert len(present.claim(present.look())) == 1


# --- Beside each other ----------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["postgres"], indirect=True)
def test_who_writes_of_one_operation_keeps_nobody_else_from_writing(url: str) -> None:
    with host(url, 1) as east, desk_at(url, lock_wait_seconds=1) as beside:
        for _ in range(2):
            east.desk.submit()
        (first, second) = east.claim()
        bound = ThreadBound(ThreadId("thread-1"), AppServerId("1@1"), None)

        def write(writing: Writing) -> None:
            operations.record(writing, first, bound)
            beside.record(second, replace(bound, thread_id=ThreadId("thread-2")))
            third = beside.submit(beside.submission("One more."))
            with host(url, 2) as west:
                assert [one.id for one in west.claim()] == [third.id]
            # But the same row has one writer at a time.
            with pytest.raises(StateBusy, match="another process holds"):
                beside.record(first, bound)

        east.desk.write(write, pen=False)
        assert beside.get(first.id).thread_id == "thread-1"
        assert beside.get(second.id).thread_id == "thread-2"


@pytest.mark.parametrize("where", ["postgres"], indirect=True)
def test_a_reader_misses_no_line_when_the_first_to_write_is_the_last_to_commit(url: str) -> None:
    """Lines are numbered by operation, and its row is its writer's until the end. One number for
    all would be passed here: the later one is committed, and seen, before the earlier."""

    def note(text: str) -> list[Entry]:
        return [Entry(Category.NOTICE, text)]

    with desk_at(url) as slow, desk_at(url) as fast, desk_at(url) as reader:
        one, other = slow.submit(), slow.submit()
        known = reader.read(lookup.heads)

        def new() -> list[str]:
            """What a follower tells: of whatever has moved, all behind what it has told."""
            told = []
            for id_, head in reader.read(lookup.heads).items():
                if head > known[id_]:
                    lines = reader.read(lambda c, id_=id_: journal.after(c, id_, known[id_], 10))  # type: ignore[misc]
                    assert [line.seq for line in lines] == [*range(known[id_] + 1, head + 1)]
                    told += [line.text for line in lines]
                    known[id_] = head
            return told

        def write(writing: Writing) -> None:
            operations.record(writing, one, entries=note("begun first"))
            fast.write(
                lambda writing: operations.record(writing, other, entries=note("ended first")),
                pen=False,
            )
            assert new() == ["ended first"]

        slow.write(write, pen=False)
        assert new() == ["begun first"]


@pytest.mark.parametrize("where", ["postgres"], indirect=True)
def test_notices_of_ends_at_the_same_moment_are_all_there(url: str) -> None:
    def work(number: int) -> None:
        with desk_at(url, outbox=Notices(["webhook", "command"])) as desk:
            for task in range(5):
                queued = desk.submit(desk.submission(f"Task {task} of {number}."))
                begun = desk.record(queued, *LIFE[Status.STARTING_THREAD])
                turn, thread = TurnId(f"u-{begun.id}"), ThreadId(f"t-{begun.id}")
                bound = ThreadBound(thread, AppServerId("1@1"), None)
                desk.record(begun, bound, INTENDED, TurnAccepted(turn), _ended(turn))

    all_at_once(4, work)
    with desk_at(url) as desk:
        assert desk.count("notices") == 2 * 4 * 5
