"""Lines drop, app-servers die, workers are replaced: the turn is followed to its true end."""

import anyio
import pytest

from codex_control_plane_mcp.codex.errors import AppServerUnavailable, BinaryNotFound
from codex_control_plane_mcp.errors import InteractionUnavailable
from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex, Fault
from tests.work.house import House


async def test_the_line_drops_in_mid_turn(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    turn.says("Before. ")
    await task.becomes(Status.RUNNING)
    await anyio.sleep(5)
    codex.server.drop_connections()
    turn.says("Meanwhile. ")
    await codex.called("thread/resume")
    await anyio.sleep(5)
    turn.says("After. ")
    turn.completes("The end.")
    ended = await task.ends()

    assert ended.report is not None
    assert ended.report.text == "The end."
    assert await task.said() == "Before. Meanwhile. After. The end."
    assert codex.dialled == 2


async def test_the_line_drops_in_mid_sentence(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    message = turn.speaks().adds("one two ")
    await anyio.sleep(5)
    codex.server.drop_connections()
    message.adds("three ")
    await codex.called("thread/turns/list")
    await anyio.sleep(5)
    message.adds("four").ends()
    turn.completes()
    await task.ends()

    assert await task.said() == "one two three four"


async def test_the_turn_ends_while_the_line_is_down(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    codex.trouble = AppServerUnavailable("not now")
    codex.server.drop_connections()
    await anyio.sleep(10)
    turn.completes("Nobody listened.")
    await anyio.sleep(10)
    codex.trouble = None
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert await task.said() == "Nobody listened."


async def test_the_app_server_dies_in_mid_turn(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    turn.says("I was about to")
    await task.becomes(Status.RUNNING)
    codex.server.die()
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    assert ended.trouble is not None
    assert ended.trouble.code == "CODEX_APP_SERVER_UNAVAILABLE"
    assert await task.said() == "I was about to"
    assert "Another app-server process answers" in " ".join(await task.lines(Category.STATE))


async def test_a_turn_that_had_ended_before_its_app_server_died_counts(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    codex.trouble = AppServerUnavailable("not now")
    codex.server.drop_connections()
    turn.completes("Done in time.")
    codex.server.die()
    codex.trouble = None
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert ended.report is not None
    assert ended.report.text == "Done in time."


async def test_codex_has_forgotten_the_thread(house: House, codex: FakeCodex) -> None:
    """Neither success nor failure can be told any more, and that is what is said."""
    task = await house.submit()
    await codex.turn()
    await task.becomes(Status.RUNNING)
    codex.server.die()
    codex.disk.clear()

    assert (await task.ends()).status is Status.UNKNOWN


async def test_codex_cannot_read_its_own_record_any_more(house: House, codex: FakeCodex) -> None:
    """A killed app-server can leave an empty file, which no later one can read."""
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    codex.server.die()
    turn.thread.is_unreadable = True
    ended = await task.ends()

    assert ended.status is Status.UNKNOWN
    assert ended.trouble is not None
    assert "is empty" in ended.trouble.message


async def test_what_codex_can_read_again_after_a_while_is_not_given_up(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    codex.server.die()
    turn.thread.is_unreadable = True
    await codex.called("thread/resume", times=3)
    turn.thread.is_unreadable = False

    assert (await task.ends()).status is Status.INTERRUPTED


async def test_a_turn_is_caught_up_with_also_when_codex_first_refuses(
    house: House, codex: FakeCodex
) -> None:
    """Over the same line: what was said before is missed unless it is read."""
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    codex.will("thread/resume", Fault.REFUSE)
    codex.server.drop_connections()
    turn.completes("Meanwhile.")
    ended = await task.ends()

    assert ended.report is not None
    assert ended.report.text == "Meanwhile."


async def test_a_second_app_server_is_not_believed_while_the_owner_lives(
    house: House, codex: FakeCodex
) -> None:
    """F15: it claims that the turn is interrupted, because it does not know."""
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    owner = codex.server
    codex.start_another()
    owner.drop_connections()
    await anyio.sleep(600)
    still = await task.now()
    codex.server, owner = owner, codex.server
    owner.drop_connections()
    await anyio.sleep(60)
    turn.completes("I ran all the time.")
    ended = await task.ends()

    assert still.status is Status.RUNNING
    assert ended.status is Status.COMPLETED


async def test_a_second_app_server_is_not_believed_about_an_acceptance_either(
    house: House, codex: FakeCodex
) -> None:
    codex.will("turn/start", Fault.HANG_UP_AFTER)
    task = await house.submit()
    owner = codex.server
    await codex.called("turn/start")
    codex.start_another()
    await anyio.sleep(600)
    assert (await task.now()).status is Status.STARTING_TURN
    codex.server.drop_connections()
    codex.server = owner
    (await codex.turn()).completes("Taken all the same.")

    assert (await task.ends()).status is Status.COMPLETED


async def test_a_pending_approval_across_connection_loss(house: House, codex: FakeCodex) -> None:
    """F16: asked again over the new line, it is the same question, answered once."""
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    codex.server.drop_connections()
    await codex.called("thread/resume")
    await anyio.sleep(60)
    again = await task.asked()
    await task.answer(again, decision="accept")
    turn.completes("Done.")
    await task.ends()

    assert again.id == question.id
    assert ask.answers == [{"decision": "accept"}]


async def test_a_pending_approval_across_a_new_worker(house: House, codex: FakeCodex) -> None:
    """F16: it comes back, is answered once, late answers are refused politely."""
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    house.worker.kill()
    await house.hire()
    await codex.called("thread/resume")
    await anyio.sleep(60)
    assert (await task.now()).status is Status.WAITING_FOR_APPROVAL
    await task.answer(question, decision="accept")
    with pytest.raises(InteractionUnavailable, match="answered by anna"):
        await task.answer(question, by="ben", decision="decline")
    turn.completes("Done.")
    await task.ends()

    assert ask.answers == [{"decision": "accept"}]
    assert len(codex.asks) == 1


async def test_an_answer_given_while_nobody_works_is_delivered_by_the_next_worker(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    house.worker.kill()
    receipt = await task.answer(question, decision="accept")
    await house.hire()
    await ask.answer()
    turn.completes("Done.")
    await task.ends()

    assert not receipt.delivered
    assert ask.answers == [{"decision": "accept"}]
    assert (await task.question(question)).status is InteractionStatus.ANSWERED


async def test_an_answer_that_codex_got_the_moment_the_worker_died(
    house: House, codex: FakeCodex
) -> None:
    """Codex goes on and does not ask again; the next worker knows that the answer was sent."""
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    ask.then = lambda _: house.worker.kill()
    await task.answer(question, decision="accept")
    await house.hire()
    await task.becomes(Status.RUNNING)
    turn.completes("Done.")
    await task.ends()

    assert ask.answers == [{"decision": "accept"}]
    closed = await task.question(question)
    assert (closed.status, closed.answered_by) == (InteractionStatus.ANSWERED, "anna")


async def test_an_answer_that_codex_got_before_the_worker_and_the_turn_ended(
    house: House, codex: FakeCodex
) -> None:
    """As before, and the turn is over when the next worker comes: the record must say what Codex
    went by (I4)."""
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    ask.then = lambda _: house.worker.kill()
    await task.answer(question, decision="accept")
    turn.completes("Done without you.")
    await house.hire()
    await task.ends()

    assert (await task.question(question)).status is InteractionStatus.ANSWERED


async def test_an_answer_whose_line_dropped_is_sent_again_only_if_codex_asks_again(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    house.worker.kill()
    codex.trouble = AppServerUnavailable("not now")
    await house.hire()
    await task.answer(question, decision="accept")
    codex.trouble = None
    await ask.answer()
    turn.completes("Done.")
    await task.ends()

    assert ask.answers == [{"decision": "accept"}]


async def test_a_question_dies_with_its_app_server(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    (await codex.turn()).asks_to_run("make")
    question = await task.asked()
    codex.server.die()
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    assert (await task.question(question)).status is InteractionStatus.WITHDRAWN
    with pytest.raises(InteractionUnavailable):
        await task.answer(question, decision="accept")


async def test_a_question_answered_elsewhere_while_the_line_was_down(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    house.worker.kill()
    ask.settle()
    await house.hire()
    await task.becomes(Status.RUNNING)
    turn.completes("Somebody said yes.")
    await task.ends()

    assert (await task.question(question)).status is InteractionStatus.WITHDRAWN


async def test_a_new_worker_takes_over_a_running_turn_with_its_journal(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    turn.says("First. ")
    message = turn.speaks().adds("half a ")
    await anyio.sleep(5)
    house.worker.kill()
    message.adds("sentence ")
    await anyio.sleep(5)
    await house.hire()
    await codex.called("thread/turns/list")
    await anyio.sleep(5)
    message.adds("is enough. ").ends()
    turn.says("Last. ")
    turn.completes("Done.")
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert ended.generation == 2
    assert await task.said() == "First. half a sentence is enough. Last. Done."
    assert len(await task.lines(Category.GAP)) == 1


async def test_what_was_masked_does_not_shift_what_the_next_worker_writes(
    house: House, codex: FakeCodex
) -> None:
    """The journal holds less than Codex said, because a secret in it is masked."""
    task = await house.submit()
    turn = await codex.turn()
    message = turn.speaks().adds("use sk-abcdefghijklmnopqrstuvwxyz0123456789 for ")
    await anyio.sleep(5)
    house.worker.kill()
    await house.hire()
    await codex.called("thread/turns/list")
    message.adds("the test").ends()
    turn.completes()
    await task.ends()

    assert await task.said() == "use [redacted] for the test"


async def test_the_next_worker_may_come_while_codex_speaks(house: House, codex: FakeCodex) -> None:
    """Between subscribing and reading the record a message begins and ends: it is written once."""
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    house.worker.kill()
    codex.will("thread/turns/list", Fault.HOLD_ANSWER)
    await house.hire()
    await codex.called("thread/turns/list")
    turn.says("Just now. ")
    codex.let_go()
    turn.completes("Done.")
    await task.ends()

    assert await task.said() == "Just now. Done."


async def test_three_workers_one_turn(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    for number in range(3):
        turn.says(f"Part {number}. ")
        await anyio.sleep(2)
        house.worker.kill()
        await house.hire()
        await task.becomes(Status.RUNNING)
    turn.completes("Done.")

    assert (await task.ends()).generation == 4
    assert await task.said() == "Part 0. Part 1. Part 2. Done."


async def test_an_app_server_that_drains_keeps_its_turn_to_the_end(
    house: House, codex: FakeCodex
) -> None:
    """F18: it hangs up without a word when its last turn has ended; the thread is read."""
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    codex.server.drain()
    await task.answer(question, decision="accept")
    turn.completes("The last one out.")
    ended = await task.ends()

    assert ask.answers == [{"decision": "accept"}]
    assert ended.status is Status.COMPLETED
    assert ended.report is not None
    assert ended.report.text == "The last one out."


async def test_what_a_draining_app_server_refuses_is_tried_again_elsewhere(
    house: House, codex: FakeCodex
) -> None:
    """F18."""
    codex.will("turn/start", Fault.SHUTTING_DOWN)
    task = await house.submit()
    await codex.called("turn/start")
    codex.server.die()
    turn = await codex.turn()
    turn.completes("Done elsewhere.")

    assert (await task.ends()).status is Status.COMPLETED
    assert turn.server.id != "40001@start-1"


async def test_an_overloaded_app_server_is_asked_again(house: House, codex: FakeCodex) -> None:
    """F6."""
    codex.will("thread/start", Fault.OVERLOADED, Fault.OVERLOADED)
    codex.will("turn/start", *[Fault.OVERLOADED] * 5)
    task = await house.submit()
    turn = await codex.turn()
    turn.completes("Room at last.")

    assert (await task.ends()).status is Status.COMPLETED
    assert turn.prompts[0]["clientId"] == f"{task.id}.1"


async def test_an_app_server_that_stays_overloaded_is_asked_for_longer(
    house: House, codex: FakeCodex
) -> None:
    codex.will("turn/start", *[Fault.OVERLOADED] * 60)
    task = await house.submit()
    (await codex.turn()).completes("Room at last.")

    assert (await task.ends()).status is Status.COMPLETED


async def test_an_app_server_that_cannot_be_reached_for_a_while(
    house: House, codex: FakeCodex
) -> None:
    codex.trouble = AppServerUnavailable("the disk is slow")
    task = await house.submit()
    await codex.until(lambda: codex.dialled >= 4 or None)
    codex.trouble = None
    (await codex.turn()).completes("There you are.")

    assert (await task.ends()).status is Status.COMPLETED
    assert "Trying again: the disk is slow" in await task.lines(Category.NOTICE)


async def test_an_app_server_that_is_never_reached_fails_what_was_not_begun(
    house: House, codex: FakeCodex
) -> None:
    codex.trouble = AppServerUnavailable("the disk is gone")
    task = await house.submit()
    ended = await task.ends()

    assert ended.status is Status.FAILED
    assert ended.trouble is not None
    assert ended.trouble.code == "CODEX_APP_SERVER_UNAVAILABLE"
    assert ended.trouble.message == "the disk is gone"


async def test_what_was_begun_never_fails_for_want_of_an_app_server(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    codex.trouble = AppServerUnavailable("not for an hour")
    codex.server.drop_connections()
    await anyio.sleep(3600)
    assert (await task.now()).status is Status.RUNNING
    codex.trouble = None
    await anyio.sleep(60)
    turn.completes("Still here.")

    assert (await task.ends()).status is Status.COMPLETED


async def test_no_codex_to_start_fails_at_once_and_says_where_it_was_looked_for(
    house: House, codex: FakeCodex
) -> None:
    codex.trouble = BinaryNotFound("no Codex in PATH; install openai-codex-cli-bin")
    task = await house.submit()
    with anyio.fail_after(1):
        ended = await task.ends()

    assert ended.status is Status.FAILED
    assert ended.trouble is not None
    assert ended.trouble.message == "no Codex in PATH; install openai-codex-cli-bin"


async def test_what_codex_refuses_fails_with_its_words(house: House, codex: FakeCodex) -> None:
    codex.will("turn/start", Fault.REFUSE)
    task = await house.submit()
    ended = await task.ends()

    assert ended.status is Status.FAILED
    assert ended.trouble is not None
    assert ended.trouble.code == "CODEX_SEND_FAILED"
    assert "the test refuses" in ended.trouble.message
    assert not codex.turns


async def test_a_message_to_a_thread_that_nobody_knows(house: House) -> None:
    task = await house.submit(thread_id="thread-99")
    ended = await task.ends()

    assert ended.status is Status.FAILED
    assert ended.trouble is not None
    assert ended.trouble.code == "CODEX_THREAD_NOT_FOUND"
