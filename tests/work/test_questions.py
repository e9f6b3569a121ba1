"""What Codex asks people: shown, answered once, and on record as Codex took it."""

import anyio
import pytest

from codex_control_plane_mcp.errors import InteractionUnavailable, InvalidArgument
from codex_control_plane_mcp.model.interaction import InteractionStatus, Kind
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from tests.work.house import House


async def test_an_accepted_command_runs(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make install", "the tools are missing")
    question = await task.asked()
    waiting = await task.now()
    receipt = await task.answer(question, decision="accept")
    turn.completes("Installed.")
    ended = await task.ends()

    assert waiting.status is Status.WAITING_FOR_APPROVAL
    assert question.asked.kind is Kind.APPROVAL
    assert question.asked.command == "make install"
    assert question.asked.reason == "the tools are missing"
    assert receipt.delivered
    assert ask.answers == [{"decision": "accept"}]
    assert ended.status is Status.COMPLETED
    closed = await task.question(question)
    assert (closed.status, closed.answered_by) == (InteractionStatus.ANSWERED, "anna")
    assert closed.answer == {"decision": "accept"}
    assert await task.lines(Category.COMMAND) == ["$ make install", "Exit code 0 after 0.0 s."]
    assert "Codex goes on." in await task.lines(Category.STATE)


async def test_a_question_about_files_is_kept_with_what_would_change(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    change = {"path": "till.py", "kind": {"type": "update"}, "diff": "-old\n+new"}
    item = {"type": "fileChange", "id": "change-1", "status": "inProgress", "changes": [change]}
    turn.tell("item/started", item=item)
    ask = turn.ask("item/fileChange/requestApproval", itemId="change-1", reason="it is wrong")
    question = await task.asked()
    await task.answer(question, decision="accept")
    turn.completes("Mended.")
    await task.ends()

    assert isinstance(question.asked.details, dict)
    assert question.asked.details["changes"] == [
        {"path": "till.py", "kind": "update", "diff": "-old\n+new"}
    ]
    assert ask.answers == [{"decision": "accept"}]


async def test_a_declined_command_does_not_run(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("rm -r /")
    await task.answer(await task.asked(), decision="decline")
    turn.completes("Then not.")
    ended = await task.ends()

    assert ask.answers == [{"decision": "decline"}]
    assert ended.status is Status.COMPLETED
    assert await task.lines(Category.COMMAND) == ["$ rm -r /", "The command was declined."]


async def test_cancel_is_an_answer_that_ends_the_turn(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    (await codex.turn()).asks_to_run("rm -r /")
    question = await task.asked()
    await task.answer(question, decision="cancel")
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    assert (await task.question(question)).status is InteractionStatus.ANSWERED


async def test_a_second_answer_is_refused_and_not_given_to_codex(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    await task.answer(question, by="anna", decision="decline")
    with pytest.raises(InteractionUnavailable, match="answered by anna"):
        await task.answer(question, by="ben", decision="accept")
    turn.completes("Done.")
    await task.ends()

    assert ask.answers == [{"decision": "decline"}]


async def test_of_two_answers_at_the_same_moment_one_is_given(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    refused: list[str] = []

    async def answer(by: str, decision: str) -> None:
        try:
            await task.answer(question, by=by, decision=decision)
        except InteractionUnavailable:
            refused.append(by)

    async with anyio.create_task_group() as people:
        people.start_soon(answer, "anna", "accept")
        people.start_soon(answer, "ben", "decline")
    turn.completes("Done.")
    await task.ends()

    assert len(ask.answers) == len(refused) == 1
    assert (await task.question(question)).answered_by not in refused


async def test_what_is_not_on_offer_is_refused(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    with pytest.raises(InvalidArgument, match="decision must be one of"):
        await task.answer(await task.asked(), decision="always")
    await task.answer(await task.asked(), decision="accept")
    turn.completes("Done.")
    await task.ends()

    assert ask.answers == [{"decision": "accept"}]


async def test_a_question_is_answered_in_words(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks("Which colour?", "red", "blue")
    question = await task.asked()
    waiting = await task.now()
    await task.answer(question, answers={"question-1": "blue"})
    turn.completes("Blue it is.")
    ended = await task.ends()

    assert waiting.status is Status.WAITING_FOR_USER_INPUT
    assert [option.label for option in question.asked.questions[0].options] == ["red", "blue"]
    assert ask.answers == [{"answers": {"question-1": {"answers": ["blue"]}}}]
    assert ended.status is Status.COMPLETED


async def test_a_secret_answer_goes_to_codex_and_is_kept_nowhere(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks("Your pass phrase?", secret=True)
    question = await task.asked()
    await task.answer(question, answers={"question-1": "correct horse battery"})
    turn.completes("Thank you.")
    await task.ends()

    assert ask.answers == [{"answers": {"question-1": {"answers": ["correct horse battery"]}}}]
    tables = ("operations", "journal", "interactions", "wishes")
    stored = house.book.read_now(
        lambda reading: [
            str(tuple(row))
            for table in tables
            for row in reading.exec_driver_sql(f"SELECT * FROM {table}")  # noqa: S608
        ]
    )
    assert not [row for row in stored if "battery" in row]
    assert (await task.question(question)).answer == {"answers": {"question-1": "[redacted]"}}


async def test_two_open_at_once_and_it_goes_on_only_when_both_are_answered(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    turn.asks_to_run("make one")
    turn.asks_to_run("make two")
    one, two = await task.asks(2)
    await task.answer(two, decision="decline")
    between = await task.now()
    await task.answer(one, decision="accept")
    running = await task.becomes(Status.RUNNING)
    turn.completes("Half of it.")
    await task.ends()

    assert between.status is Status.WAITING_FOR_APPROVAL
    assert running.status is Status.RUNNING


async def test_an_approval_and_a_question_show_as_what_still_waits(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit()
    turn = await codex.turn()
    turn.asks("Which?", "a", "b")
    turn.asks_to_run("make")
    questions = {one.asked.kind: one for one in await task.asks(2)}
    words, approval = questions[Kind.USER_INPUT], questions[Kind.APPROVAL]
    both = await task.now()
    await task.answer(approval, decision="accept")
    one = await task.now()
    await task.answer(words, answers={"question-1": "a"})
    await task.becomes(Status.RUNNING)
    turn.completes("Done.")
    await task.ends()

    assert both.status is Status.WAITING_FOR_APPROVAL
    assert one.status is Status.WAITING_FOR_USER_INPUT


async def test_an_approval_that_nobody_gives_in_time_is_declined(
    empty_house: House, codex: FakeCodex
) -> None:
    await empty_house.hire(approval_seconds=60)
    task = await empty_house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    await anyio.sleep(59)
    assert not ask.answers
    await task.becomes(Status.RUNNING)
    turn.completes("Without it, then.")
    await task.ends()

    assert ask.answers == [{"decision": "decline"}]
    assert (await task.question(question)).status is InteractionStatus.AUTO_DECLINED
    with pytest.raises(InteractionUnavailable, match="nobody answered in time"):
        await task.answer(question, decision="accept")


async def test_a_question_that_nobody_answers_in_time_expires(
    empty_house: House, codex: FakeCodex
) -> None:
    await empty_house.hire(approval_seconds=60)
    task = await empty_house.submit()
    turn = await codex.turn()
    ask = turn.asks("Which?", "a", "b")
    question = await task.asked()
    await task.becomes(Status.RUNNING)
    turn.completes("I chose myself.")
    await task.ends()

    assert ask.taken is not None
    assert ask.taken["error"]["message"] == "nobody answered in time"
    assert (await task.question(question)).status is InteractionStatus.EXPIRED


async def test_the_time_to_answer_goes_on_when_the_worker_is_replaced(
    empty_house: House, codex: FakeCodex
) -> None:
    worker = await empty_house.hire(approval_seconds=60)
    task = await empty_house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    await task.asked()
    await anyio.sleep(50)
    worker.kill()
    await empty_house.hire(approval_seconds=60)
    await anyio.sleep(15)

    assert ask.answers == [{"decision": "decline"}]


async def test_what_is_answered_elsewhere_is_withdrawn(house: House, codex: FakeCodex) -> None:
    task = await house.submit()
    turn = await codex.turn()
    ask = turn.asks_to_run("make")
    question = await task.asked()
    ask.settle()
    await task.becomes(Status.RUNNING)
    with pytest.raises(InteractionUnavailable, match="waits for no answer"):
        await task.answer(question, decision="accept")
    turn.completes("Somebody said yes.")
    await task.ends()

    assert not ask.answers
    assert (await task.question(question)).status is InteractionStatus.WITHDRAWN


async def test_an_approval_asked_at_once_with_the_acceptance_is_not_missed(
    house: House, codex: FakeCodex
) -> None:
    """F2: an approval arrives in the same read as the answer to `turn/start`."""
    codex.at_once = lambda turn: turn.asks_to_run("make")
    task = await house.submit()
    await task.answer(await task.asked(), decision="accept")
    (await codex.turn()).completes("Done.")

    assert (await task.ends()).status is Status.COMPLETED


async def test_a_turn_may_end_at_once_with_its_acceptance(house: House, codex: FakeCodex) -> None:
    """F2, further still: everything was said before we could look."""
    codex.at_once = lambda turn: turn.completes("That was easy.")
    task = await house.submit()
    ended = await task.ends()

    assert ended.report is not None
    assert ended.report.text == "That was easy."


async def test_codexs_small_request_ids_do_not_collide(house: House, codex: FakeCodex) -> None:
    """Each app-server counts its requests from 0."""
    first = await house.submit("One.")
    turn = await codex.turn(1)
    turn.asks_to_run("make one")
    await first.answer(await first.asked(), decision="accept")
    turn.completes("Done.")
    await first.ends()
    codex.server.die()
    second = await house.submit("Two.")
    turn = await codex.turn(2)
    ask = turn.asks_to_run("make two")
    await second.answer(await second.asked(), decision="decline")
    turn.completes("Done.")
    await second.ends()

    assert ask.id == 0
    assert ask.answers == [{"decision": "decline"}]
