"""It is not known whether Codex took the turn: evidence is looked for, nothing is asked twice.

That the model was asked once at most (I1) is counted after every test, see `audit`.
"""

import anyio
import pytest

from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex, Fault, View
from codex_control_plane_mcp.store import lookup
from tests.work.house import House

pytestmark = pytest.mark.over_both


@pytest.mark.parametrize(
    "fault",
    [Fault.LOSE_ANSWER, Fault.HOLD_ANSWER, Fault.HANG_UP_AFTER, Fault.ODD_ANSWER],
    ids=lambda fault: fault.name,
)
@pytest.mark.parametrize(
    "views",
    [
        (),
        (View.BARE,),
        (View.NOT_READY,),
        (View.NOT_READY, View.NOT_READY, View.BARE),
        (View.NO_ROLLOUT, View.BARE),
    ],
    ids=lambda views: "+".join(view.name for view in views) or "at once",
)
async def test_a_turn_that_was_taken_is_found_and_adopted(
    house: House, codex: FakeCodex, fault: Fault, views: tuple[View, ...]
) -> None:
    """F1, F20: the answer to `turn/start` is lost, late, odd, or the line drops instead of it."""
    codex.views = views
    codex.will("turn/start", fault)
    task = await house.submit()
    turn = await codex.turn()
    running = await task.becomes(Status.RUNNING)
    codex.let_go()
    turn.completes("Found.")
    ended = await task.ends()

    assert running.turn_id == turn.id
    assert ended.status is Status.COMPLETED
    assert "message id of this operation" in " ".join(await task.lines(Category.STATE))


@pytest.mark.parametrize("fault", [Fault.HANG_UP_BEFORE, Fault.DIE_BEFORE], ids=lambda f: f.name)
async def test_a_turn_that_was_not_taken_is_asked_for_again(
    house: House, codex: FakeCodex, fault: Fault
) -> None:
    """F4, F20: nobody has heard of the thread, so no turn was accepted."""
    codex.will("turn/start", fault)
    task = await house.submit()
    turn = await codex.turn()
    turn.completes("At the second try.")
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert len(codex.turns) == 1
    assert turn.prompts[0]["clientId"] == f"{task.id}.2"


@pytest.mark.parametrize("fault", [Fault.HANG_UP_BEFORE, Fault.DIE_BEFORE], ids=lambda f: f.name)
async def test_a_message_that_was_not_taken_is_sent_again_to_its_thread(
    house: House, codex: FakeCodex, fault: Fault
) -> None:
    first = await house.submit("One.")
    (await codex.turn(1)).completes("One.")
    await first.ends()
    codex.will("turn/start", fault)
    task = await house.submit("Two.", thread_id=codex.turns[0].thread.id)
    turn = await codex.turn(2)
    turn.completes("Two.")

    assert (await task.ends()).status is Status.COMPLETED
    assert turn.thread is codex.turns[0].thread


async def test_the_app_server_dies_the_moment_it_took_the_turn(
    house: House, codex: FakeCodex
) -> None:
    """The turn is interrupted: an outcome, not a reason to ask again."""
    codex.will("turn/start", Fault.DIE_AFTER)
    task = await house.submit()
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    assert ended.turn_id == codex.turns[0].id
    assert ended.trouble is not None
    assert ended.trouble.code == "CODEX_APP_SERVER_UNAVAILABLE"


async def test_the_app_server_dies_before_the_first_turn(house: House, codex: FakeCodex) -> None:
    """F4: `no rollout found` leads to a new thread, not to an error loop."""
    codex.will("turn/start", Fault.DIE_BEFORE)
    task = await house.submit()
    turn = await codex.turn()
    turn.completes("On a new thread.")
    ended = await task.ends()

    assert ended.thread_id == turn.thread.id == "thread-2"
    assert any("A new one is needed" in line for line in await task.lines(Category.STATE))


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1.0])
async def test_a_call_that_still_waits_in_codexs_queue_is_not_sent_again(
    house: House, codex: FakeCodex, seconds: float
) -> None:
    """The line drops, we are back at once and ask, and only then the call is carried out: what
    Codex says in these moments (`no rollout found`) proves nothing."""
    codex.will("turn/start", Fault.TAKE_LATER)
    task = await house.submit()
    await codex.called("thread/resume")
    await anyio.sleep(seconds)
    codex.let_go()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    turn.completes("Just in time.")

    assert (await task.ends()).status is Status.COMPLETED
    assert len(codex.turns) == 1


@pytest.mark.parametrize("on_an_old_thread", [False, True], ids=["new thread", "old thread"])
async def test_a_call_that_codex_still_owes_an_answer_is_not_sent_again(
    house: House, codex: FakeCodex, on_an_old_thread: bool
) -> None:
    """F1: Codex is stuck for longer than we wait for an answer, and takes the turn after all."""
    thread_id = None
    if on_an_old_thread:
        first = await house.submit("One.")
        turn = await codex.turn(1)
        turn.completes("One.")
        await first.ends()
        thread_id = turn.thread.id
    before = len(codex.turns)
    codex.will("turn/start", Fault.TAKE_ITS_TIME)
    task = await house.submit("Two.", thread_id=thread_id)
    await anyio.sleep(300)
    assert len(codex.turns) == before
    codex.let_go()
    turn = await codex.turn(before + 1)
    await task.becomes(Status.RUNNING)
    turn.completes("Late, but once.")

    assert (await task.ends()).status is Status.COMPLETED
    assert len(codex.turns) == before + 1


async def test_the_same_for_a_message_to_an_old_thread(house: House, codex: FakeCodex) -> None:
    first = await house.submit("One.")
    (await codex.turn(1)).completes("One.")
    await first.ends()
    codex.will("turn/start", Fault.TAKE_LATER)
    task = await house.submit("Two.", thread_id=codex.turns[0].thread.id)
    await codex.called("thread/resume", 2)
    await anyio.sleep(1)
    codex.let_go()
    (await codex.turn(2)).completes("Just in time.")

    assert (await task.ends()).status is Status.COMPLETED
    assert len(codex.turns) == 2


async def test_the_turn_ended_before_it_was_found(house: House, codex: FakeCodex) -> None:
    codex.at_once = lambda turn: turn.completes("Quick.")
    codex.will("turn/start", Fault.HANG_UP_AFTER)
    task = await house.submit()
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert ended.report is not None
    assert ended.report.text == "Quick."


async def test_a_turn_without_a_message_is_ours_on_a_thread_that_only_we_write_to(
    house: House, codex: FakeCodex
) -> None:
    """Killed within 5 ms of sending: `interrupted`, no items, and yet accepted."""
    codex.views = (View.BARE,) * 10
    codex.will("turn/start", Fault.DIE_AFTER)
    task = await house.submit()
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    assert len(codex.turns) == 1


async def test_a_persons_turn_is_not_taken_for_ours(house: House, codex: FakeCodex) -> None:
    """A person was quicker on the thread while the line was down."""
    first = await house.submit("One.")
    (await codex.turn(1)).completes("One.")
    await first.ends()
    thread = codex.turns[0].thread
    codex.will("turn/start", Fault.HANG_UP_BEFORE)
    task = await house.submit("Two.", thread_id=thread.id)
    await codex.called("turn/start", 2)
    persons = codex.person_asks(thread, "I am a person.")
    await anyio.sleep(60)
    waiting = await task.now()
    persons.completes("A person's answer.")
    ours = await codex.turn(3)
    ours.completes("Ours.")
    ended = await task.ends()

    assert waiting.status is Status.STARTING_TURN
    assert ended.report is not None
    assert ended.report.text == "Ours."


async def test_a_new_worker_finds_what_the_former_asked_for(house: House, codex: FakeCodex) -> None:
    """F9: killed between asking and writing down the answer."""
    codex.will("turn/start", Fault.HOLD_ANSWER)
    task = await house.submit()
    turn = await codex.turn()
    house.worker.kill()
    await house.hire()
    running = await task.becomes(Status.RUNNING)
    turn.completes("Found by another.")

    assert running.turn_id == turn.id
    assert (await task.ends()).status is Status.COMPLETED


async def test_a_new_worker_asks_if_the_former_only_wanted_to(
    empty_house: House, codex: FakeCodex
) -> None:
    """F9: killed between the wish and the asking."""
    codex.will("turn/start", Fault.HANG_UP_BEFORE)
    worker = await empty_house.hire()
    task = await empty_house.submit()
    await codex.called("turn/start")
    worker.kill()
    await empty_house.hire()
    turn = await codex.turn()
    turn.completes("Done.")

    assert (await task.ends()).status is Status.COMPLETED


async def test_killed_while_codex_makes_the_thread(empty_house: House, codex: FakeCodex) -> None:
    """A thread is left over that never gets a turn: harmless."""
    codex.will("thread/start", Fault.HOLD_ANSWER)
    worker = await empty_house.hire()
    task = await empty_house.submit()
    await codex.called("thread/start")
    worker.kill()
    await empty_house.hire()
    turn = await codex.turn()
    turn.completes("Done.")

    assert (await task.ends()).thread_id == "thread-2"


@pytest.mark.parametrize("method", ["thread/start", "thread/resume", "thread/turns/list"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault.LOSE_ANSWER,
        Fault.HANG_UP_BEFORE,
        Fault.HANG_UP_AFTER,
        Fault.OVERLOADED,
        Fault.ODD_ANSWER,
    ],
    ids=lambda fault: fault.name,
)
async def test_trouble_while_it_is_found_out_leads_to_one_turn_all_the_same(
    house: House, codex: FakeCodex, method: str, fault: Fault
) -> None:
    codex.will("turn/start", Fault.HANG_UP_AFTER)
    codex.will(method, fault)
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    turn.completes("One turn.")

    assert (await task.ends()).status is Status.COMPLETED
    assert len(codex.turns) == 1


async def test_the_intent_is_stored_before_the_line_is_used(house: House, codex: FakeCodex) -> None:
    seen: list[str] = []

    def look(_: object) -> None:
        stored = house.book.read_now(lookup.unfinished)
        seen.extend(one.intent.client_message_id for one in stored if one.intent)

    codex.at_once = look
    task = await house.submit()
    turn = await codex.turn()
    turn.completes("Done.")
    await task.ends()

    assert seen == [turn.prompts[0]["clientId"]]
