"""Somebody wants an operation to end, wherever it stands."""

import anyio

from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex, Fault
from tests.work.house import House


async def test_interrupted_while_running(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    await task.interrupt()
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    assert turn.status == "interrupted"
    assert [method for method, _ in codex.calls].count("turn/interrupt") == 1


async def test_interrupted_while_waiting_for_an_approval(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    ask = (await codex.turn()).asks_to_run("make")
    question = await task.asked()
    await task.interrupt()
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    assert not ask.answers
    assert (await task.question(question)).status is InteractionStatus.WITHDRAWN


async def test_cancelled_in_the_queue(empty_house: House, codex: FakeCodex) -> None:
    await empty_house.hire(limits=Limits(everywhere=1))
    first = await empty_house.submit("One.")
    turn = await codex.turn()
    second = await empty_house.submit("Two.")
    await second.interrupt()
    ended = await second.ends()
    turn.completes("Done.")
    await first.ends()

    assert ended.status is Status.CANCELLED
    assert ended.thread_id is None
    assert len(codex.turns) == 1


async def test_cancelled_while_nobody_works(empty_house: House, codex: FakeCodex) -> None:
    task = await empty_house.submit()
    await task.interrupt()
    await empty_house.hire()

    assert (await task.ends()).status is Status.CANCELLED
    assert not codex.calls


async def test_cancelled_while_codex_cannot_be_reached(house: House, codex: FakeCodex) -> None:
    codex.trouble = OSError("nobody there")
    task = await house.submit()
    await task.becomes(Status.STARTING_THREAD)
    await task.interrupt()
    codex.trouble = None

    assert (await task.ends()).status is Status.CANCELLED
    assert not codex.turns


async def test_cancelled_before_the_turn_was_asked_for(house: House, codex: FakeCodex) -> None:
    codex.will("thread/start", Fault.HOLD_ANSWER)
    task = await house.submit()
    await codex.called("thread/start")
    await task.interrupt()
    codex.let_go()

    assert (await task.ends()).status is Status.CANCELLED
    assert not codex.turns


async def test_interrupted_while_codex_accepts_the_turn(house: House, codex: FakeCodex) -> None:
    codex.will("turn/start", Fault.HOLD_ANSWER)
    task = await house.submit()
    turn = await codex.turn()
    await task.interrupt()
    await anyio.sleep(5)
    codex.let_go()

    assert (await task.ends()).status is Status.INTERRUPTED
    assert turn.status == "interrupted"


async def test_interrupted_while_the_acceptance_is_in_doubt(house: House, codex: FakeCodex) -> None:
    codex.will("turn/start", Fault.LOSE_ANSWER)
    task = await house.submit()
    turn = await codex.turn()
    await task.interrupt()

    assert (await task.ends()).status is Status.INTERRUPTED
    assert turn.status == "interrupted"


async def test_cancelled_in_doubt_where_nothing_was_accepted(
    house: House, codex: FakeCodex
) -> None:
    codex.will("turn/start", Fault.HANG_UP_BEFORE)
    task = await house.submit()
    await codex.called("turn/start")
    await task.interrupt()

    assert (await task.ends()).status is Status.CANCELLED
    assert not codex.turns


async def test_interrupted_while_it_waits_for_a_persons_turn(
    house: House, codex: FakeCodex
) -> None:
    first = await house.submit()
    turn = await codex.turn()
    turn.completes("Done.")
    await first.ends()
    codex.person_asks(turn.thread, "I am a person.")
    task = await house.submit("More.", thread_id=turn.thread.id)
    await codex.called("thread/resume")
    await anyio.sleep(1)
    await task.interrupt()

    assert (await task.ends()).status is Status.CANCELLED
    assert len(codex.turns) == 2


async def test_a_turn_that_ends_by_itself_first_is_not_called_interrupted(
    house: House, codex: FakeCodex
) -> None:
    codex.will("turn/interrupt", Fault.REFUSE)
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    await task.interrupt()
    await codex.called("turn/interrupt")
    turn.completes("I was quicker.")

    assert (await task.ends()).status is Status.COMPLETED


async def test_an_interrupt_that_gets_lost_is_sent_again(house: House, codex: FakeCodex) -> None:
    codex.will("turn/interrupt", Fault.HANG_UP_BEFORE)
    task = await house.submit()
    await codex.turn()
    await task.becomes(Status.RUNNING)
    await task.interrupt()

    assert (await task.ends()).status is Status.INTERRUPTED


async def test_an_interrupt_that_codex_has_no_room_for_is_sent_again(
    house: House, codex: FakeCodex
) -> None:
    codex.will("turn/interrupt", *[Fault.OVERLOADED] * 40)
    task = await house.submit()
    await codex.turn()
    await task.becomes(Status.RUNNING)
    await task.interrupt()

    assert (await task.ends()).status is Status.INTERRUPTED


async def test_interrupted_while_nobody_works(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    await codex.turn()
    await task.becomes(Status.RUNNING)
    house.worker.kill()
    await task.interrupt()
    await house.hire()

    assert (await task.ends()).status is Status.INTERRUPTED
