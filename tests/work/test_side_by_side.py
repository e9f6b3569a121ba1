"""Several operations, several workers, and one thread that is not ours alone."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex, Turn
from codex_control_plane_mcp.store import workers
from codex_control_plane_mcp.store.book import Book
from codex_control_plane_mcp.store.operations import Fenced
from codex_control_plane_mcp.work.case import Case
from tests.work.house import House, Task


async def test_four_run_and_the_fifth_starts_when_one_ends(house: House, codex: FakeCodex) -> None:
    tasks = [await house.submit(f"Task {n}.", project=f"project-{n}") for n in range(5)]
    fourth = await codex.turn(4)
    await anyio.sleep(60)
    statuses = sorted([(await task.now()).status for task in tasks])
    codex.turns[1].completes("First out.")
    fifth = await codex.turn(5)
    for turn in (codex.turns[0], codex.turns[2], fourth, fifth):
        turn.completes("Done.")
    ended = [(await task.ends()).status for task in tasks]

    assert statuses == [Status.QUEUED] + [Status.RUNNING] * 4
    assert ended == [Status.COMPLETED] * 5
    assert codex.dialled == 1


async def test_two_writers_in_one_project_take_turns(house: House, codex: FakeCodex) -> None:
    one = await house.submit("One.", sandbox=Sandbox.WORKSPACE_WRITE)
    two = await house.submit("Two.", sandbox=Sandbox.WORKSPACE_WRITE)
    first = await codex.turn(1)
    await anyio.sleep(60)
    assert (await two.now()).status is Status.QUEUED
    first.completes("Done.")
    (await codex.turn(2)).completes("Done.")
    await one.ends()

    assert (await two.ends()).status is Status.COMPLETED


async def test_messages_to_one_thread_wait_for_each_other(house: House, codex: FakeCodex) -> None:
    first = await house.submit("One.")
    thread = (await codex.turn(1)).thread
    second = await house.submit("Two.", thread_id=thread.id)
    third = await house.submit("Three.", thread_id=thread.id)
    await anyio.sleep(60)
    for number in (1, 2, 3):
        assert len(codex.turns) == number
        codex.turns[-1].completes(f"Answer {number}.")
        if number < 3:
            await codex.turn(number + 1)
    reports = [(await task.ends()).report for task in (first, second, third)]

    assert [report.text for report in reports if report] == ["Answer 1.", "Answer 2.", "Answer 3."]


async def test_a_persons_turn_is_waited_for_and_never_steered(
    house: House, codex: FakeCodex
) -> None:
    """F5."""
    first = await house.submit("One.")
    (await codex.turn(1)).completes("One.")
    await first.ends()
    persons = codex.person_asks(codex.turns[0].thread, "I am a person.")
    task = await house.submit("Two.", thread_id=persons.thread.id)
    await anyio.sleep(60)
    waiting = await task.now()
    persons.completes("A person's answer.")
    ours = await codex.turn(3)
    ours.completes("Ours.")
    ended = await task.ends()

    assert waiting.status is Status.STARTING_THREAD
    assert f"Turn {persons.id} runs in this thread" in " ".join(await task.lines(Category.NOTICE))
    assert len(persons.prompts) == 1
    assert ended.report is not None
    assert ended.report.text == "Ours."


async def test_the_end_of_a_persons_turn_that_nobody_tells(house: House, codex: FakeCodex) -> None:
    """F3 and F5 together: only the thread says that it is idle."""
    first = await house.submit("One.")
    (await codex.turn(1)).completes("One.")
    await first.ends()
    persons = codex.person_asks(codex.turns[0].thread, "I am a person.")
    task = await house.submit("Two.", thread_id=persons.thread.id)
    await anyio.sleep(60)
    persons.completes("A person's answer.", silently=True)
    (await codex.turn(3)).completes("Ours.")

    assert (await task.ends()).status is Status.COMPLETED


async def test_a_persons_turn_in_our_thread_does_not_end_ours(
    house: House, codex: FakeCodex
) -> None:
    """While we follow our turn, nothing that is said of another one counts."""
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    codex.server.tell(
        turn.thread,
        "turn/completed",
        {"threadId": turn.thread.id, "turn": {"id": "another", "status": "completed", "items": []}},
    )
    await anyio.sleep(60)
    assert (await task.now()).status is Status.RUNNING
    turn.completes("Ours.")

    assert (await task.ends()).status is Status.COMPLETED


async def test_a_fenced_worker_stops_and_writes_nothing(house: House, codex: FakeCodex) -> None:
    """F11: it was paused; another has taken over meanwhile, and both see what Codex says."""
    task = await house.submit()
    turn = await codex.turn()
    turn.says("Before. ")
    await anyio.sleep(5)
    await house.hire()
    await codex.called("thread/resume")
    await anyio.sleep(5)
    turn.says("After. ")
    await anyio.sleep(5)
    turn.completes("Done.")
    ended = await task.ends()

    assert ended.generation == 2
    assert house.workers[0].workshop.active == 0
    assert await task.said() == "Before. After. Done."


async def test_a_fenced_worker_gives_no_answer_and_interrupts_nothing(
    house: House, codex: FakeCodex
) -> None:
    """F11: both hear of the wish; only the owner may act on it."""
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    await house.hire()
    await codex.called("thread/turns/list")
    await anyio.sleep(5)
    await task.answer(question, decision="accept")
    await anyio.sleep(5)
    turn.completes("Done.")
    await task.ends()

    assert ask.answers == [{"decision": "accept"}]
    assert (await task.question(question)).status is InteractionStatus.ANSWERED


async def test_a_fenced_worker_cannot_claim(house: House, codex: FakeCodex) -> None:
    """F11: whoever owns the book now has not begun to work yet."""
    await anyio.sleep(1)
    await house.book.write(lambda writing: workers.enter(writing, "another", 1, "test"))
    task = await house.submit()
    await anyio.sleep(60)
    left = await task.now()
    await house.hire()
    (await codex.turn()).completes("Done.")
    ended = await task.ends()

    assert left.status is Status.QUEUED
    assert ended.generation == house.worker.generation == 3


#: How to have whatever is written of one operation refused, and how to let it be again.
BREAK = {
    "sqlite": "CREATE TRIGGER broken BEFORE INSERT ON journal"
    " WHEN NEW.operation_id = '{}' BEGIN SELECT RAISE(FAIL, 'broken'); END",
    "postgresql": "ALTER TABLE journal ADD CONSTRAINT broken CHECK (operation_id <> '{}')"
    " NOT VALID",
}
MEND = {
    "sqlite": "DROP TRIGGER broken",
    "postgresql": "ALTER TABLE journal DROP CONSTRAINT broken",
}


@contextmanager
def _broken_disk(book: Book, task: Task) -> Iterator[None]:
    """Nothing can be written about one operation, for as long as this lasts."""

    def run(statements: dict[str, str]) -> None:
        book.write_now(
            lambda writing: writing.connection.exec_driver_sql(
                statements[writing.connection.dialect.name].format(task.id)
            )
        )

    run(BREAK)
    try:
        yield
    finally:
        run(MEND)


async def test_what_goes_wrong_with_one_does_not_touch_the_others(
    house: House, codex: FakeCodex, caplog: pytest.LogCaptureFixture
) -> None:
    """The operation goes on from what is on record, once it can."""
    unlucky = await house.submit("One.", project="project-1")
    turn = await codex.turn(1)
    await unlucky.becomes(Status.RUNNING)
    with _broken_disk(house.book, unlucky):
        turn.completes("Nobody could write this down.")
        await anyio.sleep(1)
        lucky = await house.submit("Two.", project="project-2")
        (await codex.turn(2)).completes("Fine.")
        assert (await lucky.ends()).status is Status.COMPLETED
        assert (await unlucky.now()).status is Status.RUNNING
    ended = await unlucky.ends()

    assert ended.status is Status.COMPLETED
    assert ended.report is not None
    assert ended.report.text == "Nobody could write this down."
    assert "went wrong" in caplog.text


@pytest.mark.usefixtures("in_a_file")
async def test_a_queue_that_could_not_be_looked_at_is_looked_at_again(
    house: House, codex: FakeCodex, tmp_path: Path
) -> None:
    """F10: another process holds the book just when a task was stored."""
    await anyio.sleep(1)
    with house.book._writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=0")
        connection.rollback()
    other = sqlite3.connect(tmp_path / "state.sqlite3", isolation_level=None)
    task = await house.submit()
    other.execute("BEGIN IMMEDIATE")
    await anyio.sleep(10)
    assert (await task.now()).status is Status.QUEUED
    other.execute("COMMIT")
    other.close()
    (await codex.turn()).completes("Done.")

    assert (await task.ends()).status is Status.COMPLETED


async def test_an_old_generation_is_refused_every_write(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    former = await task.becomes(Status.RUNNING)
    house.worker.kill()
    await house.hire()
    await codex.called("thread/resume")

    with pytest.raises(Fenced):
        await Case(former, house.book).note(Category.NOTICE, "I am still here.")
    turn.completes("Done.")
    await task.ends()


_ENDS: tuple[Callable[[Turn], None], ...] = (
    lambda turn: turn.completes("Done."),
    lambda turn: turn.fails("other", "no"),
    lambda turn: turn.is_interrupted(),
    lambda turn: turn.server.die(),
)


async def test_all_slots_come_back_after_every_kind_of_end(
    empty_house: House, codex: FakeCodex
) -> None:
    """I5."""
    await empty_house.hire(limits=Limits(everywhere=1))
    for number, end in enumerate(_ENDS, 1):
        task = await empty_house.submit(f"Task {number}.")
        turn = await codex.turn(number)
        await task.becomes(Status.RUNNING)
        end(turn)
        await task.ends()

    assert empty_house.worker.workshop.active == 0
