"""Hosts that share a queue on PostgreSQL, each with a Codex and a book of its own, on virtual time.

What one writes rings the bell of the other, as NOTIFY does, unless the line between a host and the
database is cut.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Connection, Engine

from codex_control_plane_mcp.desk.diagnosis import facts
from codex_control_plane_mcp.desk.diagnosis.facts import Case, Scope
from codex_control_plane_mcp.desk.queue import QueueLook, queue_status
from codex_control_plane_mcp.desk.status import Look, lines, look
from codex_control_plane_mcp.desk.views import OperationView, WaitView
from codex_control_plane_mcp.desk.wait import Until, Watched, attention, changed
from codex_control_plane_mcp.errors import (
    InteractionUnavailable,
    InvalidArgument,
    OperationNotFound,
    StateBusy,
)
from codex_control_plane_mcp.model.ids import (
    Generation,
    HostId,
    OperationId,
    ProjectId,
    ThreadId,
    TurnId,
)
from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Claimed, Operation, Status
from codex_control_plane_mcp.model.request import Placement, SteerTurn
from codex_control_plane_mcp.model.schedule import YIELD_SECONDS, Limits, Reach
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.store import queue
from codex_control_plane_mcp.store.bell import News, Subject
from codex_control_plane_mcp.store.book import Book, T, Writing, opened
from codex_control_plane_mcp.store.elsewhere import follow
from codex_control_plane_mcp.store.hosts import LOST_SECONDS, Card, enrol, hear
from codex_control_plane_mcp.store.presence import LOOK_SECONDS
from codex_control_plane_mcp.work.requeue import Patience, requeue
from tests.hosts import enrolled, there
from tests.store.actors import all_at_once
from tests.store.actors import desk as desk_at
from tests.work.audit import Watch, audit
from tests.work.house import House, Task, WallClock

PROJECTS = frozenset({"project-1", "project-2", "project-3"})
#: A worker that could not reach the book tries again after five.
LATER_SECONDS = 20.0

pytestmark = pytest.mark.usefixtures("where_postgres_runs")


class FrailBook(Book):
    """A book whose line to the database can be cut."""

    is_cut = False
    #: The next commit is carried out, and nobody hears of it.
    loses_an_answer = False

    def write_now(self, work: Callable[[Writing], T], *, pen: bool = True) -> tuple[T, News]:
        if self.is_cut:
            raise StateBusy("the line is cut")
        result = super().write_now(work, pen=pen)
        if self.loses_an_answer:
            self.loses_an_answer = False
            raise StateBusy("the line broke while the server committed")
        return result

    def read_now(self, work: Callable[[Connection], T]) -> T:
        if self.is_cut:
            raise StateBusy("the line is cut")
        return super().read_now(work)


@dataclass
class Host:
    """One host of the fleet."""

    house: House
    codex: FakeCodex
    book: FrailBook

    def cut(self) -> None:
        self.book.is_cut = True

    def mend(self) -> None:
        self.book.is_cut = False
        self.book.bell.missed()

    def die(self) -> None:
        """The machine is gone, and its turns with it."""
        for worker in self.house.workers:
            worker.kill()

    @property
    def turns(self) -> int:
        return len(self.codex.turns)


@dataclass
class Fleet:
    url: str
    folder: Path
    hosts: list[Host] = field(default_factory=list)
    most_active: int = 0

    @asynccontextmanager
    async def host(self, name: str, clock: WallClock, capacity: int) -> AsyncIterator[Host]:
        def make(writer: Engine, reader: Engine) -> FrailBook:
            return FrailBook(writer, reader, clock=clock, threads=False, host=HostId(name))

        with opened(self.url, make=make) as book:
            assert isinstance(book, FrailBook)
            watch = Watch(book)
            book.herald = lambda writing: self._after_commit(book, frozenset(writing.news))
            async with anyio.create_task_group() as tasks:
                codex = FakeCodex()
                # Each Codex draws names of its own.
                codex._ids = defaultdict(lambda: 1000 * len(self.hosts))
                house = House(book, codex.connect, codex.is_gone, tasks)
                house.spool = self.folder / name
                house.reach = lambda _: Reach(HostId(name), PROJECTS, capacity)
                house.may_start = lambda: not book.is_cut
                present = Host(house, codex, book)
                self.hosts.append(present)
                tasks.start_soon(follow, book)
                with book.bell.listening(on_ring=lambda: self._look(book, watch)):
                    yield present
                tasks.cancel_scope.cancel()
            book.is_cut = False
            house.look_for_crashes()
            audit(book, watch)

    def _after_commit(self, book: Book, news: News) -> None:
        """NOTIFY comes a moment after the commit; a cut host does not hear it. Of facts nobody is
        told."""
        news = frozenset(one for one in news if one[0] is not Subject.FACT)
        for other in self.hosts:
            if other.book is not book and not other.book.is_cut:
                other.house.tasks.start_soon(_ring, other.book, news)

    def _look(self, book: FrailBook, watch: Watch) -> None:
        if not book.is_cut:
            watch.look()
            self.most_active = max(self.most_active, len(book.read_now(queue.active_jobs)))

    def asked(self, task: Task) -> int:
        """How often any model was asked for a task."""
        return sum(len(host.codex.prompts_of(task.id)) for host in self.hosts)

    def kept(self) -> list[Path]:
        """What hosts keep because the book does not answer."""
        return list(self.folder.glob("*/*"))


async def _ring(book: Book, news: News) -> None:
    book.bell.ring(news)


@pytest.fixture
async def fleet(postgres_url: str, tmp_path: Path) -> Fleet:
    return Fleet(postgres_url, tmp_path)


@pytest.fixture
async def east(fleet: Fleet, clock: WallClock) -> AsyncIterator[Host]:
    async with fleet.host("east", clock, capacity=2) as host:
        yield host


@pytest.fixture
async def west(fleet: Fleet, clock: WallClock, east: Host) -> AsyncIterator[Host]:
    async with fleet.host("west", clock, capacity=2) as host:
        yield host


async def _hired(*hosts: Host, limits: Limits | None = None) -> None:
    for host in hosts:
        await host.house.hire(limits=limits)


async def _runs(task: Task) -> Operation:
    return await task.becomes(Status.RUNNING)


async def test_what_waits_is_taken_by_whoever_has_room_and_no_limit_is_passed(
    fleet: Fleet, east: Host, west: Host
) -> None:
    await _hired(east, west, limits=Limits(everywhere=3))
    tasks = [
        await (east, west)[number % 2].house.submit(
            f"Task {number}.\nstream 30 words\nsay Done.", project=f"project-{number % 3 + 1}"
        )
        for number in range(9)
    ]
    for task in tasks:
        ended = await task.becomes(Status.COMPLETED)
        assert f"Taken from the queue by host {ended.host}." in await task.lines(Category.STATE)
        assert fleet.asked(task) == 1
    assert fleet.most_active == 3
    assert {(await task.now()).host for task in tasks} == {"east", "west"}


async def test_a_host_takes_no_more_turns_than_it_has_room_for(east: Host) -> None:
    await _hired(east, limits=Limits(everywhere=9))
    first, second, third = [
        await east.house.submit(f"Task {n}.\nhold {n}\nsay Done.", agent_id=f"a{n}")
        for n in range(3)
    ]
    await _runs(first)
    await _runs(second)
    await anyio.sleep(LATER_SECONDS)
    assert (await third.now()).status is Status.QUEUED
    for number in range(3):
        east.codex.release(str(number))
    await third.becomes(Status.COMPLETED)


async def test_only_a_host_that_has_the_project_takes_it(east: Host, west: Host) -> None:
    east.house.reach = lambda _: Reach(HostId("east"), frozenset(), 2)
    await _hired(east, west)
    task = await east.house.submit("Do it.\nsay Done.")
    assert (await task.becomes(Status.COMPLETED)).host == "west"


async def test_a_task_runs_on_the_host_that_it_names_or_on_one_with_its_labels(
    fleet: Fleet, east: Host, west: Host
) -> None:
    west.house.reach = lambda _: Reach(HostId("west"), PROJECTS, 2, frozenset({"gpu", "linux"}))
    await _hired(east, west)
    named = await east.house.submit("Named.\nsay Done.", placement=Placement(HostId("west")))
    labelled = await east.house.submit(
        "Labelled.\nsay Done.", placement=Placement(labels=("gpu",)), project="project-2"
    )
    nowhere = await east.house.submit("Nowhere.", placement=Placement(labels=("gpu", "mac")))
    for task in (named, labelled):
        assert (await task.becomes(Status.COMPLETED)).host == "west"
    # It holds up nobody of its line.
    after = await east.house.submit("After.\nsay Done.", placement=Placement(HostId("east")))
    assert (await after.becomes(Status.COMPLETED)).host == "east"
    await anyio.sleep(LATER_SECONDS)
    assert (await nowhere.now()).status is Status.QUEUED
    await nowhere.interrupt()
    await nowhere.becomes(Status.CANCELLED)


def _knowing(host: Host, capacity: int, *others: Reach) -> None:
    reach = Reach(host.book.host, PROJECTS, capacity, others=others)
    host.house.reach = lambda _: reach


async def test_new_tasks_go_to_the_emptier_host_by_its_capacity(
    fleet: Fleet, east: Host, west: Host
) -> None:
    _knowing(east, 2, Reach(HostId("west"), PROJECTS, 6))
    _knowing(west, 6, Reach(HostId("east"), PROJECTS, 2))
    await _hired(east, west, limits=Limits(9, 9, 9, 9))
    tasks = []
    for number in range(8):
        tasks.append(await east.house.submit(f"Task {number}.\nhold all\nsay Done."))
        await _runs(tasks[-1])
        if number == 3:
            active = [one.host for one in east.book.read_now(queue.active_jobs)]
            assert active.count(HostId("east")) == 1
    for host in (east, west):
        host.codex.release("all")
    ended = [(await task.becomes(Status.COMPLETED)).host for task in tasks]
    assert (ended.count(HostId("east")), ended.count(HostId("west"))) == (2, 6)


async def test_what_is_left_to_a_host_that_does_not_take_it_starts_after_a_moment(
    fleet: Fleet, east: Host, west: Host
) -> None:
    """The other one holds its lock, and its worker hangs."""
    _knowing(east, 2, Reach(HostId("west"), PROJECTS, 2))
    west.house.may_start = lambda: False
    await _hired(east, west)
    first = await east.house.submit("First.\nhold end\nsay Done.")
    await _runs(first)
    begun_at = anyio.current_time()
    second = await east.house.submit("Second.\nsay Done.", project="project-2")
    assert (await second.becomes(Status.COMPLETED)).host == "east"
    assert YIELD_SECONDS <= anyio.current_time() - begun_at < 3 * YIELD_SECONDS
    east.codex.release("end")
    await first.becomes(Status.COMPLETED)


async def test_a_repository_at_another_path_is_worked_in_there_and_its_thread_goes_on_there(
    fleet: Fleet, east: Host, west: Host
) -> None:
    moved = {"project-1": ("/project", "/checkouts/project")}
    west.house.reach = lambda _: Reach(HostId("west"), PROJECTS, 2, moved=moved)
    await _hired(east, west)
    to_west = Placement(HostId("west"))
    task = await east.house.submit("Begin.\nsay One.", placement=to_west)
    begun = await task.becomes(Status.COMPLETED)
    assert (begun.host, begun.cwd, begun.request.cwd) == ("west", "/checkouts/project", "/project")
    assert begun.thread_id is not None
    assert west.codex.disk[begun.thread_id].cwd == "/checkouts/project"
    more = await east.house.submit("More.\nsay Two.", thread_id=begun.thread_id)
    assert (await more.becomes(Status.COMPLETED)).cwd == "/checkouts/project"
    assert west.codex.disk[begun.thread_id].cwd == "/checkouts/project"


async def test_a_thread_goes_on_where_it_lives_whoever_asks(east: Host, west: Host) -> None:
    await _hired(east)
    begun = await (await east.house.submit("Begin.\nsay One.")).becomes(Status.COMPLETED)
    await _hired(west)
    task = await west.house.submit("More.\nsay Two.", thread_id=begun.thread_id)
    went_on = await task.becomes(Status.COMPLETED)
    assert (went_on.host, went_on.thread_id) == ("east", begun.thread_id)
    assert west.turns == 0
    east.die()
    waits = await west.house.submit("Even more.", thread_id=begun.thread_id)
    await anyio.sleep(LATER_SECONDS)
    assert (await waits.now()).status is Status.QUEUED
    await waits.interrupt()
    await waits.becomes(Status.CANCELLED)


async def test_an_answer_an_interruption_and_more_words_given_anywhere_reach_the_owner(
    fleet: Fleet, east: Host, west: Host
) -> None:
    await _hired(east)
    asking = await east.house.submit("Ask.\nrun! make # it must be\nsay Made.")
    hanging = await east.house.submit("Hang.\nsay Waiting.\nhang", project="project-2")
    question, running = await asking.asked(), await _runs(hanging)
    await _hired(west)
    seen = Task(asking.id, west.house)
    await seen.answer(question, decision="accept")
    assert (await seen.becomes(Status.COMPLETED)).host == "east"

    assert running.thread_id is not None
    assert running.turn_id is not None
    steering = await west.house.enter(
        SteerTurn(
            "Faster.",
            ThreadId(running.thread_id),
            TurnId(running.turn_id),
            "/project",
            ProjectId("project-2"),
        )
    )
    assert (await steering.becomes(Status.COMPLETED)).host == "east"
    await Task(hanging.id, west.house).interrupt()
    assert (await hanging.becomes(Status.INTERRUPTED)).host == "east"
    assert west.turns == 0


async def test_of_a_host_that_died_what_waits_moves_and_what_runs_stays_its_own(
    fleet: Fleet, east: Host, west: Host
) -> None:
    await _hired(east, limits=Limits(everywhere=1))
    running = await east.house.submit("Stay.\nhold end\nsay Done.")
    await _runs(running)
    waiting = await east.house.submit("Move.\nsay Moved.")
    east.die()
    await _hired(west, limits=Limits(everywhere=2))
    assert (await waiting.becomes(Status.COMPLETED)).host == "west"
    await anyio.sleep(24 * 3600)
    stays = await running.now()
    assert (stays.status, stays.host) == (Status.RUNNING, "east")

    await _hired(east)
    east.codex.release("end")
    ended = await running.becomes(Status.COMPLETED)
    assert (ended.host, fleet.asked(running), fleet.asked(waiting)) == ("east", 1, 1)


async def test_a_new_worker_of_one_host_neither_takes_over_nor_fences_off_another_host(
    fleet: Fleet, east: Host, west: Host
) -> None:
    await _hired(east, west)
    first = await east.house.submit("One.\nhold a\nsay Done.")
    second = await west.house.submit("Two.\nhold b\nsay Done.", project="project-2")
    owners = {(await _runs(task)).generation for task in (first, second)}
    former = west.house.worker
    former.kill()
    await west.house.hire()
    third = await west.house.submit("Three.\nsay Done.", project="project-3")
    await third.becomes(Status.COMPLETED)
    assert east.house.worker.crash is None
    for host in (east, west):
        for hold in "ab":
            host.codex.release(hold)
    ended = [await task.becomes(Status.COMPLETED) for task in (first, second)]
    for operation in ended:
        newest = {host.book.host: host.house.worker.generation for host in fleet.hosts}
        assert operation.host is not None
        assert operation.generation in {newest[operation.host], *owners} - {former.generation}
    assert [fleet.asked(task) for task in (first, second)] == [1, 1]


PARTITION_SECONDS = 60


async def test_in_a_partition_turns_go_on_nothing_starts_and_nothing_is_lost(
    fleet: Fleet, east: Host, west: Host
) -> None:
    """East has a turn that ends meanwhile, one that is to be interrupted and one that asks; what is
    wished of them on the other side comes through afterwards. No side passes a limit."""
    limits = Limits(everywhere=4, per_project=4, per_agent=4)
    east.house.reach = lambda _: Reach(HostId("east"), PROJECTS, 3)
    await _hired(east, limits=limits)
    ending = await east.house.submit("Work.\nsay One.\nhold door\nrun make\nsay Two.")
    hanging = await east.house.submit("Hang.\nsay Waiting.\nhang", project="project-2")
    asking = await east.house.submit(
        "Ask.\nhold late\nrun! make # it must be\nsay Made.", project="project-3"
    )
    for task in (ending, hanging, asking):
        await _runs(task)
    cut_at = east.book.now()
    east.cut()
    east.codex.release("door")
    east.codex.release("late")
    started = east.turns

    await _hired(west, limits=limits)
    waiting = [await west.house.submit(f"Next {n}.\nhold {n}\nsay Done.") for n in range(3)]
    await Task(hanging.id, west.house).interrupt()
    await anyio.sleep(PARTITION_SECONDS)
    # Three are active in the east as far as anybody knows, so the west may have one.
    seen = [(await Task(task.id, west.house).now()).status for task in (ending, hanging, *waiting)]
    assert seen == [Status.RUNNING] * 3 + [Status.QUEUED] * 2
    assert (east.turns, west.turns) == (started, 1)
    assert east.book.now() - cut_at >= PARTITION_SECONDS * 1000

    for number in range(3):
        west.codex.release(str(number))
        east.codex.release(str(number))
    east.mend()
    ended = await ending.becomes(Status.COMPLETED)
    await hanging.becomes(Status.INTERRUPTED)
    await Task(asking.id, west.house).answer(await asking.asked(), decision="accept")
    await asking.becomes(Status.COMPLETED)
    assert ended.report is not None
    assert (ended.report.text, await ending.said()) == ("Two.", "One.Two.")
    for task in waiting:
        await task.becomes(Status.COMPLETED)
    assert fleet.most_active <= 4
    assert [fleet.asked(task) for task in (ending, hanging, asking, *waiting)] == [1] * 6


@pytest.mark.parametrize("is_killed", [False, True])
async def test_what_was_said_while_the_book_was_away_is_written_once_with_its_time(
    fleet: Fleet, east: Host, is_killed: bool
) -> None:
    """Also by the next worker, where this one is killed meanwhile."""
    await _hired(east)
    task = await east.house.submit("Work.\nsay One.\nhold door\nrun make\nsay Two.")
    await _runs(task)
    await anyio.sleep(10)
    east.cut()
    cut_at = east.book.now()
    east.codex.release("door")
    await anyio.sleep(PARTITION_SECONDS / 2)
    if is_killed:
        east.die()
    await anyio.sleep(PARTITION_SECONDS / 2)
    east.mend()
    if is_killed:
        await _hired(east)
    await task.becomes(Status.COMPLETED)
    assert await task.said() == "One.Two."
    commands = [line for line in await task.journal() if line.category is Category.COMMAND]
    assert [line.text for line in commands] == ["$ make", "Exit code 0."]
    assert all(cut_at <= line.at <= cut_at + 10_000 for line in commands)
    assert await task.lines(Category.GAP) == []
    assert fleet.kept() == []


async def test_what_a_person_requeues_is_done_anew_and_the_former_owner_is_fenced_for_ever(
    fleet: Fleet, east: Host, west: Host
) -> None:
    await _hired(east)
    task = await east.house.submit("Work.\nrun! make # it must be\nsay Done.")
    question = await task.asked()
    await _hired(west)
    east.cut()
    anew = Task((await requeue(west.book, task.id, "anna")).id, west.house)
    former = await Task(task.id, west.house).now()
    assert former.status is Status.UNKNOWN
    assert former.trouble is not None
    assert anew.id in former.trouble.message
    await anew.answer(await anew.asked(), decision="accept")
    assert (await anew.becomes(Status.COMPLETED)).host == "west"
    east.mend()
    assert (await task.question(question)).status is InteractionStatus.WITHDRAWN
    await anyio.sleep(LATER_SECONDS)
    assert await task.now() == former
    assert fleet.kept() == []
    for again in (task, anew):
        with pytest.raises(InvalidArgument, match="only what a host has in hand"):
            await requeue(west.book, again.id, "anna")


async def test_after_so_long_a_rule_requeues_what_a_lost_host_had_in_hand_and_just_once(
    fleet: Fleet, east: Host, west: Host, clock: WallClock
) -> None:
    await _hired(east)
    begun = await (await east.house.submit("Begin.\nsay One.")).becomes(Status.COMPLETED)
    bound = await east.house.submit("More.\nhang", thread_id=begun.thread_id)
    task = await east.house.submit("Work.\nrun! make # it must be\nsay Done.", project="project-2")
    await _runs(bound)
    question = await task.asked()
    await _hired(west)
    async with fleet.host("north", clock, capacity=2) as north:
        rules = [Patience(host.book, 300) for host in (west, north)]
        east.cut()
        assert await _looked(rules, seconds=300) == []
        (one,) = await _looked(rules, seconds=20)
        anew, former = Task(one.id, west.house), await Task(task.id, west.house).now()
        assert former.status is Status.UNKNOWN
        assert former.trouble is not None
        assert "(CODEX_MCP_REQUEUE_AFTER_SECONDS) gave it up, for its host east is gone" in (
            former.trouble.message
        )
        # Nobody holds a lock of PostgreSQL here, so west is away, too: no task goes from host to
        # host without end.
        await anew.asked()
        assert await _looked(rules, seconds=600) == []
        await anew.answer(await anew.asked(), decision="accept")
        assert (await anew.becomes(Status.COMPLETED)).host == "west"
        # What lives on the lost host waits for it.
        stays = await Task(bound.id, west.house).now()
        assert (stays.status, stays.host) == (Status.RUNNING, "east")
        east.mend()
        assert (await task.question(question)).status is InteractionStatus.WITHDRAWN
        await anyio.sleep(LATER_SECONDS)
        assert await task.now() == former
        assert (await bound.now()).status is Status.RUNNING


async def test_a_rule_counts_only_the_time_for_which_a_host_was_seen_to_be_away(
    fleet: Fleet, east: Host, west: Host
) -> None:
    number = enrolled(east.book, "east")
    await _hired(east)
    await _runs(await east.house.submit("Work.\nhang"))
    rule = Patience(west.book, 300)
    for _ in range(2):
        assert await _looked([rule], seconds=280) == []
        with there(fleet.url, number):
            assert await _looked([rule], seconds=20) == []
    assert await _looked([rule], seconds=280) == []
    # West was out of reach itself, and cannot know.
    await anyio.sleep(600)
    assert await _looked([rule], seconds=300) == []
    assert len(await _looked([rule], seconds=60)) == 1


async def _looked(rules: Sequence[Patience], seconds: float) -> list[Operation]:
    """What hosts that look together come to within so long."""
    anew: list[Operation] = []

    async def look(rule: Patience) -> None:
        anew.extend(await rule.look())

    for _ in range(int(seconds // LOOK_SECONDS)):
        await anyio.sleep(LOOK_SECONDS)
        async with anyio.create_task_group() as tasks:
            for rule in rules:
                tasks.start_soon(look, rule)
    return anew


def test_of_hosts_that_give_a_task_up_at_the_same_moment_one_does(postgres_url: str) -> None:
    with desk_at(postgres_url) as desk:
        lost = desk.record(desk.submit(), Claimed(Generation(1), HostId("east")))

        async def give_up(book: Book) -> int:
            return len(await Patience(book, 0).look())

        def act(number: int) -> int:
            with opened(postgres_url, host=HostId(f"host-{number}")) as book:
                return anyio.run(give_up, book)

        assert sum(all_at_once(4, act)) == 1
        assert desk.count("operations") == 2
        assert desk.get(lost.id).status is Status.FAILED


async def test_what_lives_on_the_lost_host_is_not_requeued(east: Host, west: Host) -> None:
    await _hired(east)
    begun = await (await east.house.submit("Begin.\nsay One.")).becomes(Status.COMPLETED)
    more = await east.house.submit("More.\nhang", thread_id=begun.thread_id)
    await _runs(more)
    east.die()
    with pytest.raises(InvalidArgument, match="lives on east"):
        await requeue(west.book, more.id, "anna")
    with pytest.raises(OperationNotFound):
        await requeue(west.book, OperationId("op_none"), "anna")


async def test_a_status_says_that_the_owner_is_gone_and_why_a_task_waits(
    east: Host, west: Host
) -> None:
    """No worker here holds a lock of PostgreSQL, so for the views nobody is there."""
    card = Card("mark", "/homes/east", 4)
    await east.book.write(lambda writing: enrol(writing, card))
    await _hired(east)
    running = await east.house.submit("Work.\nhang")
    operation = await _runs(running)
    follows = await west.house.submit("More.", thread_id=operation.thread_id)
    other = await west.house.submit("Other.", project="project-9")

    def seen(task: Task) -> OperationView:
        wanted = Look(operation_id=task.id)
        return west.book.read_now(lambda reading: look(reading, wanted, Limits(), west.book.now()))

    assert (seen(running).status, seen(running).evidence.owner) == (Status.RUNNING, "owner_gone")
    assert seen(running).evidence.host == "east"

    def told(host: Host) -> Case:
        """What is known on a host of its case, when every process that it asks about has ended."""
        scope, now = Scope(operation_id=running.id), host.book.now()
        (case,) = host.book.read_now(
            lambda reading: facts.look(
                reading, scope, Limits(), lambda _: True, now, host=host.book.host
            )
        ).cases
        return case

    assert (told(west).is_elsewhere, told(west).host_away) == (True, "east")
    assert not told(west).owner_gone, "of another host's process nothing can be told"
    assert (told(east).is_elsewhere, told(east).owner_gone) == (False, True)
    assert seen(follows).queue_state.reason == "another turn runs in this thread"
    assert seen(other).queue_state.reason == "no host that is connected has its project"
    labelled = await west.house.submit("Label.", placement=Placement(labels=("gpu",)))
    assert seen(labelled).queue_state.reason == "no host has the label gpu"
    named = await west.house.submit("Name.", placement=Placement(HostId("north")))
    assert seen(named).queue_state.reason == "its host north is not connected"
    now = west.book.now()
    listed = west.book.read_now(
        lambda reading: queue_status(reading, QueueLook(), Limits(), now)
    ).queued
    assert {one.operation_id: one.reason for one in listed} == {
        task.id: seen(task).queue_state.reason for task in (follows, other, labelled, named)
    }


async def test_who_waits_hears_once_that_the_host_is_lost(east: Host, west: Host) -> None:
    """No worker here holds a lock of PostgreSQL: whoever says nothing is lost."""
    card = Card("mark", "/homes/east", 4)
    await east.book.write(lambda writing: enrol(writing, card))
    await _hired(east)
    task = await east.house.submit("Work.\nhang")
    await _runs(task)
    lost_at = anyio.current_time() + LOST_SECONDS

    calls = await attention(west.book, task.id, 300, frozenset())
    assert 0 <= anyio.current_time() - lost_at < 1
    assert len(calls) == 1
    operation = await task.now()
    (line,) = west.book.read_now(lambda reading: lines(reading, [operation]))
    assert line.next_recommended_action == "inspect_diagnostics"
    assert await attention(west.book, task.id, 300, calls) == calls
    assert anyio.current_time() - lost_at > 300, "it is called once"

    # Another time it is another loss.
    await east.book.write(lambda writing: hear(writing, None, ()))
    assert not await attention(west.book, task.id, LOST_SECONDS / 2, calls)
    assert await attention(west.book, task.id, 300, calls) != calls


@pytest.mark.parametrize("what", Until)
async def test_who_waits_for_several_hears_of_the_lost_host_and_when_it_is_back(
    east: Host, west: Host, what: Until
) -> None:
    card = Card("mark", "/homes/east", 4)
    await east.book.write(lambda writing: enrol(writing, card))
    await _hired(east)
    tasks = [await east.house.submit(f"Work {n}.\nhang", project=f"project-{n}") for n in (1, 2)]
    for task in tasks:
        await _runs(task)
    watched = Watched([task.id for task in tasks])

    async def wait(cursor: str) -> WaitView:
        return await changed(west.book, watched, 300, cursor, what)

    begun = await changed(west.book, watched, 0, None, what)
    lost = await wait(begun.cursor)
    assert {one.operation_id for one in lost.operations} == {task.id for task in tasks}
    assert (await wait(lost.cursor)).timed_out
    await east.book.write(lambda writing: hear(writing, None, ()))
    back = await changed(west.book, watched, 1, lost.cursor, what)
    assert back.timed_out == (what is Until.ATTENTION)


@pytest.mark.parametrize("commit", range(8))
async def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_done_again(
    fleet: Fleet, east: Host, commit: int
) -> None:
    heard = 0

    def lose_one(writing: Writing) -> None:
        nonlocal heard
        if not writing.news:
            return
        if heard == commit:
            east.book.loses_an_answer = True
        heard += 1

    await _hired(east)
    task = await east.house.submit("Work.\nrun! make # it must be\nsay Done.")
    east.book.herald = lose_one
    question = await task.asked()
    with suppress(StateBusy):
        await task.answer(question, decision="accept")
    with suppress(InteractionUnavailable):  # it is on its way already
        await task.answer(question, decision="accept")
    # Of that commit nobody was told; so often everybody looks.
    await anyio.sleep(LOOK_SECONDS)
    east.book.bell.look()
    ended = await task.becomes(Status.COMPLETED)
    assert ended.report is not None
    assert (ended.report.text, await task.said()) == ("Done.", "Done.")
    assert await task.lines(Category.COMMAND) == [
        "$ make # it must be",
        "Exit code 0 after 0.0 s.",
    ]
    assert fleet.asked(task) == 1
    assert heard > commit
