"""A task that goes well, or that Codex ends: there and back."""

import anyio

from codex_control_plane_mcp.model.ids import TurnId
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Policy, Report, Status, Trouble
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from tests.work.house import House, WallClock


async def test_a_task_there_and_back(house: House, codex: FakeCodex) -> None:
    task = await house.submit("Greet me.")
    turn = await codex.turn()
    running = await task.becomes(Status.RUNNING)
    turn.says("I think. ")
    turn.uses(17)
    turn.completes("Hello!")
    ended = await task.ends()

    assert (running.thread_id, running.turn_id) == (turn.thread.id, turn.id)
    assert ended.status is Status.COMPLETED
    assert ended.report == Report("Hello!", TurnId(turn.id))
    assert ended.token_usage is not None
    assert ended.token_usage.total == 17
    assert [(line.seq, line.category, line.text) for line in await task.journal()] == [
        (1, Category.STATE, "Queued."),
        (2, Category.STATE, "Taken from the queue."),
        (3, Category.STATE, "Codex has thread thread-1 for it."),
        (4, Category.STATE, "Asking Codex for a turn."),
        (5, Category.STATE, "Codex runs turn turn-1 (turn/start answered)."),
        (6, Category.ASSISTANT, "I think. "),
        (7, Category.ASSISTANT, "Hello!"),
        (8, Category.STATE, "Completed."),
    ]


async def test_the_wish_is_on_record_before_codex_is_asked(house: House, codex: FakeCodex) -> None:
    task = await house.submit("Greet me.")
    params = await codex.called("turn/start")

    intent = (await task.now()).intent
    assert intent is not None
    assert params["clientUserMessageId"] == intent.client_message_id == f"{task.id}.1"
    assert params["input"] == [{"type": "text", "text": "Greet me.", "text_elements": []}]


async def test_the_options_arrive_and_what_codex_says_is_recorded(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit(sandbox=Sandbox.READ_ONLY)
    started = await codex.called("thread/start")
    running = await task.becomes(Status.RUNNING)

    assert started == {"cwd": "/project", "sandbox": "read-only", "approvalPolicy": "on-request"}
    assert running.policy == Policy("read-only", "on-request", "fake-model")


async def test_the_thread_gets_its_title(house: House, codex: FakeCodex) -> None:
    await house.submit(title="Spring cleaning")

    assert (await codex.called("thread/name/set"))["name"] == "Spring cleaning"


async def test_a_message_to_a_thread_brings_its_own_policy(house: House, codex: FakeCodex) -> None:
    await house.submit()
    first = await codex.turn(1)
    first.completes("One.")
    task = await house.submit("More.", thread_id=first.thread.id, sandbox=Sandbox.WORKSPACE_WRITE)
    params = await codex.called("turn/start", 2)
    second = await codex.turn(2)
    second.completes("Two.")
    ended = await task.ends()

    assert params["sandboxPolicy"]["type"] == "workspaceWrite"
    assert params["approvalPolicy"] == "on-request"
    assert ended.report == Report("Two.", TurnId(second.id))
    assert second.thread is first.thread


async def test_streamed_text_is_written_about_once_a_second_and_is_complete(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    message = turn.speaks()
    for number in range(100):
        message.adds(f"word{number} ")
        await anyio.sleep(0.05)
    message.ends()
    turn.completes()
    await task.ends()

    said = await task.lines(Category.ASSISTANT)
    assert "".join(said) == "".join(f"word{number} " for number in range(100))
    assert 4 <= len(said) <= 8


async def test_a_word_is_never_written_in_two_halves(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    message = turn.speaks()
    message.adds("the key is sk-abcdef")
    await anyio.sleep(5)
    message.adds("ghijklmnopqrstuvwxyz, keep it")
    message.ends()
    turn.completes()
    ended = await task.ends()

    assert await task.said() == "the key is [redacted], keep it"
    assert ended.report is not None
    assert ended.report.text == "the key is [redacted], keep it"


async def test_a_turn_that_fails_says_why_in_codexs_words(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    (await codex.turn()).fails("usageLimitExceeded", "You've hit your usage limit.")
    ended = await task.ends()

    assert ended.status is Status.FAILED
    assert ended.trouble == Trouble("usageLimitExceeded", "You've hit your usage limit.")
    assert await task.lines(Category.ERROR) == ["You've hit your usage limit."]


async def test_a_turn_that_codex_interrupts_by_itself_is_interrupted(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    (await codex.turn()).is_interrupted()

    assert (await task.ends()).status is Status.INTERRUPTED


async def test_an_end_that_nobody_tells_is_read_from_the_thread(
    house: House, codex: FakeCodex
) -> None:
    """F3: `turn/completed` never comes, though the thread is idle."""
    task = await house.submit()
    (await codex.turn()).completes("All done.", silently=True)
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert ended.report is not None
    assert ended.report.text == "All done."


async def test_silence_is_no_failure(house: House, codex: FakeCodex) -> None:
    """F13: 300 seconds without an event, then an hour."""
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    await anyio.sleep(60)
    before = await task.now()
    await anyio.sleep(300)
    assert await task.now() == before
    await anyio.sleep(3600)
    turn.completes("That took a while.")

    assert (await task.ends()).status is Status.COMPLETED


async def test_a_command_that_only_prints_is_a_sign_of_life(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    before = await task.becomes(Status.RUNNING)
    for _ in range(60):
        turn.shows_life()
        await anyio.sleep(1)
    after = await task.now()
    turn.completes("Done.")
    await task.ends()

    assert before.heard_at is not None
    assert after.heard_at is not None
    assert after.heard_at - before.heard_at > 45_000
    assert after.last_seq == before.last_seq


async def test_the_wall_clock_steps_back_an_hour(
    house: House, codex: FakeCodex, clock: WallClock
) -> None:
    """F14."""
    task = await house.submit()
    turn = await codex.turn()
    before = await task.becomes(Status.RUNNING)
    clock.set_back_seconds = 3600
    turn.says("Later, or sooner?")
    await anyio.sleep(2)
    turn.completes("Done.")
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert ended.updated_at >= before.updated_at


async def test_what_codex_says_twice_is_written_once(house: House, codex: FakeCodex) -> None:
    codex.repeats = 2
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    await task.answer(await task.asked(), decision="accept")
    await ask.answer()
    turn.completes("Once is enough.")
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert (await task.lines(Category.STATE)).count("Codex goes on.") == 1


async def test_noise_on_the_line_is_passed_over(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    codex.babble("garbage", "[1,2]", "5", '{"method":"never/heardOf","params":{"threadId":"?"}}')
    codex.babble('{"method":"turn/completed","params":{"threadId":"thread-1","turn":{}}}')
    codex.babble('{"method":"item/tool/call","id":77,"params":{"threadId":"thread-1"}}')
    turn.completes("Still here.")

    assert (await task.ends()).status is Status.COMPLETED
