"""Delivery on virtual time: at least once, under one id, in order, until it is given up."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.model.ids import OperationId, new_operation_id
from codex_control_plane_mcp.model.notice import GIVE_UP_SECONDS, Notice
from codex_control_plane_mcp.model.operation import Cancelled
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.store import notices, operations
from codex_control_plane_mcp.store.book import Book, Writing, opened
from codex_control_plane_mcp.store.notices import Notices
from codex_control_plane_mcp.work.courier import AT_ONCE, Courier, NotTaken, Receiver
from tests.store.actors import Desk, HandClock
from tests.work.house import House, WallClock

HOUR, DAY = 3600, 86_400


@dataclass
class Letterbox:
    """Takes what it is sent, while it is up."""

    up: bool = True
    got: list[str] = field(default_factory=list)
    #: When it was tried, in seconds.
    tried: list[float] = field(default_factory=list)
    news: anyio.Event = field(default_factory=anyio.Event)

    async def __call__(self, notice: Notice) -> None:
        self.tried.append(anyio.current_time())
        if not self.up:
            raise NotTaken("it is down")
        self.got.append(notice.id)
        self.news.set()
        self.news = anyio.Event()

    async def has(self, count: int, within: float = HOUR) -> None:
        with anyio.fail_after(within):
            while len(self.got) < count:
                await self.news.wait()


@dataclass
class Post:
    """A book with an outbox, and who empties it."""

    book: Book
    receiver: Letterbox
    tasks: anyio.abc.TaskGroup
    courier: Courier | None = None

    def hire(self, receiver: Receiver | None = None) -> anyio.CancelScope:
        """A courier at work; cancelled, it is as good as killed."""
        scope = anyio.CancelScope()
        courier = Courier(self.book, {"webhook": receiver or self.receiver}, lambda: 0.5)
        self.courier = courier

        async def work() -> None:
            with scope:
                await courier.run()

        self.tasks.start_soon(work)
        return scope

    async def end_one(self) -> str:
        """An operation ends; the id of the notice."""
        words = f"Errand {new_operation_id(self.book.now())}"
        submission = Desk(self.book, HandClock(), "").submission(words)

        def end(writing: Writing) -> OperationId:
            made = operations.insert_operation(writing, new_operation_id(writing.now), submission)
            return operations.record(writing, made, Cancelled()).id

        return f"{await self.book.write(end)}_ended"


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    outbox = Notices(["webhook"])
    path = tmp_path / "state.sqlite3"
    with opened(path, clock=WallClock(), threads=False, outbox=outbox) as book:
        async with anyio.create_task_group() as tasks:
            yield Post(book, Letterbox(), tasks)
            tasks.cancel_scope.cancel()


async def test_a_notice_is_delivered_at_once(post: Post) -> None:
    post.hire()
    sent = await post.end_one()
    await post.receiver.has(1, within=1)
    assert post.receiver.got == [sent]
    await anyio.sleep(1)
    assert post.courier is not None
    assert post.courier.waiting == 0


async def test_a_receiver_that_is_down_for_a_day_gets_every_event_once_it_is_back(
    post: Post,
) -> None:
    post.hire()
    post.receiver.up = False
    sent = []
    for _ in range(6):
        sent.append(await post.end_one())
        await anyio.sleep(4 * HOUR)
    assert post.receiver.got == []
    assert post.courier is not None
    assert post.courier.waiting == 6
    assert len(post.receiver.tried) < 6 * 50
    post.receiver.up = True
    await post.receiver.has(6)
    assert Counter(post.receiver.got) == Counter(sent)
    await anyio.sleep(DAY)
    assert len(post.receiver.got) == 6


async def test_a_pause_is_twice_as_long_each_time_up_to_half_an_hour(post: Post) -> None:
    post.hire()
    post.receiver.up = False
    await post.end_one()
    await anyio.sleep(5 * HOUR)
    tried = post.receiver.tried
    pauses = [round(after - before, 1) for before, after in pairwise(tried)]
    assert pauses[:4] == [3.8, 7.5, 15.0, 30.0]
    assert set(pauses[9:]) == {1350.0}


async def test_who_is_killed_between_sending_and_marking_has_it_sent_again_under_the_same_id(
    post: Post,
) -> None:
    got: list[str] = []
    taken = anyio.Event()

    async def hold(notice: Notice) -> None:
        got.append(notice.id)
        taken.set()
        await anyio.sleep_forever()

    worker = post.hire(hold)
    sent = await post.end_one()
    with anyio.fail_after(10):
        await taken.wait()
    worker.cancel()
    post.hire()
    await post.receiver.has(1)
    assert got == post.receiver.got == [sent]


async def test_a_receiver_that_takes_nothing_for_days_is_given_up_and_can_be_tried_again(
    post: Post,
) -> None:
    post.hire()
    post.receiver.up = False
    sent = await post.end_one()
    await anyio.sleep(GIVE_UP_SECONDS + HOUR)
    assert await post.book.read(notices.dead_count) == 1
    tries = len(post.receiver.tried)
    await anyio.sleep(DAY)
    assert len(post.receiver.tried) == tries

    post.receiver.up = True
    # As another process does: the courier hears nothing of it.
    post.book.write_now(lambda writing: notices.replay(writing, sent))
    await post.receiver.has(1, within=301)
    assert post.receiver.got == [sent]


async def test_a_machine_that_slept_for_days_does_not_give_up_what_it_hardly_tried(
    post: Post,
) -> None:
    await post.end_one()
    await anyio.sleep(2 * GIVE_UP_SECONDS)
    post.receiver.up = False
    post.hire()
    await anyio.sleep(60)
    post.receiver.up = True
    await post.receiver.has(1)


async def test_one_that_is_never_taken_keeps_no_other(post: Post) -> None:
    bad = [await post.end_one() for _ in range(AT_ONCE + 2)]

    async def choose(notice: Notice) -> None:
        if notice.id in bad:
            raise RuntimeError("our own mistake")
        await post.receiver(notice)

    post.hire(choose)
    await anyio.sleep(10)
    good = await post.end_one()
    await post.receiver.has(1)
    assert post.receiver.got == [good]


async def test_a_task_tells_of_its_question_and_then_of_its_end(
    tmp_path: Path, codex: FakeCodex, clock: WallClock
) -> None:
    """The workshop and the courier side by side, as in the worker."""
    receiver, events = Letterbox(), list[str]()

    async def note(notice: Notice) -> None:
        events.append(f"{notice.event} {notice.status}")
        await receiver(notice)

    outbox = Notices(["command"])
    with opened(tmp_path / "state.sqlite3", clock=clock, threads=False, outbox=outbox) as book:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Courier(book, {"command": note}).run)
            house = House(book, codex.connect, codex.is_gone, tasks)
            await house.hire()
            task = await house.submit()
            turn = await codex.turn()
            turn.asks_to_run("make install")
            await receiver.has(1)
            await task.answer(await task.asked(), decision="accept")
            turn.completes("Installed.")
            await receiver.has(2)
            tasks.cancel_scope.cancel()
        house.look_for_crashes()
    assert events == ["interaction.opened running", "operation.ended completed"]
