"""Codex's questions at the desk: listed, answered once, and what is said of it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from codex_control_plane_mcp.desk.interactions import DELIVERY_SECONDS, Given, Page
from codex_control_plane_mcp.desk.interrupt import END_SECONDS, Turn
from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.errors import (
    InteractionNotFound,
    InteractionUnavailable,
    InvalidArgument,
    OperationNotFound,
    TurnNotFound,
)
from codex_control_plane_mcp.model.ids import InteractionId, OperationId, ThreadId, TurnId
from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.store import wishes
from codex_control_plane_mcp.store.interactions import Search
from tests.desk.reception import USER_INPUT, Reception
from tests.desk.test_status import running, submitted

QUESTION = {
    "questions": [
        {
            "id": "colour",
            "header": "Colour",
            "question": "Which colour?",
            "options": [{"label": "red", "description": ""}, {"label": "blue", "description": ""}],
        }
    ]
}


def answer(interaction_id: str, by: str = "ann", **said: Any) -> Given:
    return Given(InteractionId(interaction_id), said, by)


async def asked(at: Reception, **params: Any) -> InteractionId:
    return await at.workshop.ask(await running(at), {"command": "rm -r build", **params})


async def deliver_after(at: Reception, seconds: float) -> None:
    await anyio.sleep(seconds)
    await at.workshop.grant_wishes()


async def test_a_question_shows_what_a_person_must_judge(at: Reception) -> None:
    await asked(at, cwd="/srv/shop", reason="to start afresh")

    (shown,) = (await at.desk.interactions(Page(Search()))).interactions

    assert (shown.command, shown.cwd, shown.reason) == (
        "rm -r build",
        "/srv/shop",
        "to start afresh",
    )
    assert shown.risk_summary == "may run outside the sandbox"
    assert shown.available_decisions == ("accept", "acceptForSession", "decline", "cancel")


async def test_an_answer_says_that_codex_got_it(at: Reception) -> None:
    interaction_id = await asked(at)

    async with anyio.create_task_group() as group:
        group.start_soon(deliver_after, at, 1)
        receipt = await at.desk.answer(answer(interaction_id, decision="accept"))

    assert (receipt.delivered, receipt.status) == (True, InteractionStatus.ANSWERED)


async def test_an_answer_that_is_still_on_its_way_is_stored_and_no_longer_pending(
    at: Reception,
) -> None:
    interaction_id = await asked(at)
    began = anyio.current_time()

    receipt = await at.desk.answer(answer(interaction_id, decision="decline"))

    assert (receipt.delivered, receipt.status) == (False, InteractionStatus.PENDING)
    assert anyio.current_time() - began == pytest.approx(DELIVERY_SECONDS)
    assert (await at.desk.interactions(Page(Search()))).interactions == ()
    shown = await at.desk.status(Look(operation_id=OperationId(receipt.operation_id)))
    assert shown.pending_interactions == ()
    assert shown.next_recommended_action == "wait"


async def test_the_first_answer_counts_and_the_second_learns_whose_it_was(at: Reception) -> None:
    interaction_id = await asked(at)
    await at.desk.answer(answer(interaction_id, by="ann", decision="accept"))

    with pytest.raises(InteractionUnavailable, match="ann"):
        await at.desk.answer(answer(interaction_id, by="bob", decision="decline"))
    await at.workshop.grant_wishes()
    with pytest.raises(InteractionUnavailable, match="ann"):
        await at.desk.answer(answer(interaction_id, by="bob", decision="decline"))

    (shown,) = (await at.desk.interactions(Page(Search(status=None)))).interactions
    assert (shown.status, shown.answered_by) == (InteractionStatus.ANSWERED, "ann")


async def test_two_answers_at_once_are_one_answer(at: Reception) -> None:
    interaction_id = await asked(at)
    refused: list[str] = []

    async def say(by: str, decision: str) -> None:
        try:
            await at.desk.answer(answer(interaction_id, by=by, decision=decision))
        except InteractionUnavailable:
            refused.append(by)

    async with anyio.create_task_group() as group:
        group.start_soon(say, "ann", "accept")
        group.start_soon(say, "bob", "decline")

    (wish,) = await at.book.read(wishes.open_wishes)
    assert {wish.made_by, *refused} == {"ann", "bob"}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (InteractionStatus.AUTO_DECLINED, "nobody answered in time"),
        (InteractionStatus.WITHDRAWN, "waits for no answer"),
    ],
)
async def test_a_late_answer_is_refused_politely(
    at: Reception, status: InteractionStatus, said: str
) -> None:
    interaction_id = await asked(at)
    await at.workshop.close(interaction_id, status)

    with pytest.raises(InteractionUnavailable, match=said):
        await at.desk.answer(answer(interaction_id, decision="accept"))
    assert await at.book.read(wishes.open_wishes) == []


async def test_an_answer_that_never_reaches_codex_is_not_called_delivered(at: Reception) -> None:
    interaction_id = await asked(at)

    async def withdraw() -> None:
        await anyio.sleep(1)
        await at.workshop.close(interaction_id, InteractionStatus.WITHDRAWN)

    async with anyio.create_task_group() as group:
        group.start_soon(withdraw)
        with pytest.raises(InteractionUnavailable, match="not given to Codex"):
            await at.desk.answer(answer(interaction_id, decision="accept"))


async def test_an_answer_that_codex_would_not_take_can_be_given_anew(at: Reception) -> None:
    interaction_id = await asked(at)

    async def refuse() -> None:
        await anyio.sleep(1)
        await at.workshop.refuse("")

    async with anyio.create_task_group() as group:
        group.start_soon(refuse)
        with pytest.raises(InteractionUnavailable, match="give another"):
            await at.desk.answer(answer(interaction_id, decision="accept"))

    async with anyio.create_task_group() as group:
        group.start_soon(deliver_after, at, 1)
        receipt = await at.desk.answer(answer(interaction_id, decision="decline"))
    assert receipt.delivered


async def test_an_unknown_interaction_is_not_found(at: Reception) -> None:
    with pytest.raises(InteractionNotFound):
        await at.desk.answer(answer("ia_nothing", decision="accept"))


@pytest.mark.parametrize(
    "said",
    [
        {"decision": "acceptForSession"},
        {"decision": "yes"},
        {"decision": None},
        {"answers": {"q": "yes"}},
        {"decision": "accept", "scope": "session"},
        {},
    ],
)
async def test_what_is_not_on_offer_is_refused_and_the_offer_named(
    at: Reception, said: dict[str, Any]
) -> None:
    interaction_id = await asked(at, availableDecisions=["accept", "decline"])

    with pytest.raises(InvalidArgument) as refused:
        await at.desk.answer(answer(interaction_id, **said))

    assert refused.value.details["availableDecisions"] == ["accept", "decline"]
    assert await at.book.read(wishes.open_wishes) == []


@pytest.mark.parametrize("said", [{}, {"colour": "green"}, {"colour": "red", "size": "L"}, "red"])
async def test_a_question_wants_its_own_options(at: Reception, said: object) -> None:
    interaction_id = await at.workshop.ask(await running(at), QUESTION, USER_INPUT)

    with pytest.raises(InvalidArgument):
        await at.desk.answer(answer(interaction_id, answers=said))


async def test_a_question_is_answered_with_one_of_its_options(at: Reception) -> None:
    interaction_id = await at.workshop.ask(await running(at), QUESTION, USER_INPUT)

    await at.desk.answer(answer(interaction_id, answers={"colour": "red"}))

    (wish,) = await at.book.read(wishes.open_wishes)
    assert wish.payload == {"answers": {"colour": "red"}}


async def test_the_list_goes_on_behind_its_cursor(at: Reception) -> None:
    operation_id = await running(at)
    for number in range(5):
        at.clock.at += 1
        await at.workshop.ask(operation_id, {"command": f"run {number}"}, request_id=number)

    commands: list[str | None] = []
    cursor: str | None = None
    while True:
        page = await at.desk.interactions(Page(Search(), limit=2, cursor=cursor))
        commands += [shown.command for shown in page.interactions]
        cursor = page.next_cursor
        if cursor is None:
            break

    assert commands == [f"run {number}" for number in range(5)]


@pytest.mark.parametrize("cursor", ["", "x", "e30", "\ud800", "WzEsMl0"])
async def test_a_cursor_that_is_none_of_ours_is_refused(at: Reception, cursor: str) -> None:
    with pytest.raises(InvalidArgument, match="cursor"):
        await at.desk.interactions(Page(Search(), cursor=cursor))


class TestInterrupting:
    async def test_a_turn_is_stopped_by_operation(self, at: Reception) -> None:
        operation_id = await running(at)
        async with anyio.create_task_group() as group:
            group.start_soon(deliver_after, at, 2)
            receipt = await at.desk.interrupt(operation_id, "ann")

        assert (receipt.status, receipt.changed, receipt.ended) == (Status.INTERRUPTED, True, True)

    async def test_a_turn_is_stopped_by_thread_and_turn(self, at: Reception) -> None:
        operation_id = await running(at)
        async with anyio.create_task_group() as group:
            group.start_soon(deliver_after, at, 2)
            receipt = await at.desk.interrupt(Turn(ThreadId("t-1"), TurnId("u-1")), "ann")

        assert receipt.operation_id == operation_id
        assert receipt.status is Status.INTERRUPTED

    async def test_a_queued_task_is_cancelled(self, at: Reception) -> None:
        operation_id = await submitted(at)
        async with anyio.create_task_group() as group:
            group.start_soon(deliver_after, at, 0.1)
            receipt = await at.desk.interrupt(operation_id, "ann")

        assert (receipt.status, receipt.changed) == (Status.CANCELLED, True)

    async def test_what_has_ended_already_is_said_not_refused(self, at: Reception) -> None:
        operation_id = await running(at)
        await at.workshop.complete(operation_id)

        receipt = await at.desk.interrupt(operation_id, "ann")

        assert (receipt.status, receipt.changed, receipt.ended) == (Status.COMPLETED, False, True)
        assert await at.book.read(wishes.open_wishes) == []

    async def test_a_wish_that_takes_long_stands_and_is_made_once(self, at: Reception) -> None:
        operation_id = await running(at)
        began = anyio.current_time()

        receipt = await at.desk.interrupt(operation_id, "ann")
        assert (receipt.changed, receipt.ended) == (True, False)
        assert anyio.current_time() - began == pytest.approx(END_SECONDS)

        await at.desk.interrupt(operation_id, "bob")
        assert len(await at.book.read(wishes.open_wishes)) == 1

    async def test_a_turn_that_completes_first_was_not_interrupted(self, at: Reception) -> None:
        operation_id = await running(at)

        async def complete() -> None:
            await anyio.sleep(1)
            await at.workshop.complete(operation_id)

        async with anyio.create_task_group() as group:
            group.start_soon(complete)
            receipt = await at.desk.interrupt(operation_id, "ann")

        assert (receipt.status, receipt.changed) == (Status.COMPLETED, False)

    async def test_what_does_not_exist_is_not_found(self, at: Reception) -> None:
        with pytest.raises(OperationNotFound):
            await at.desk.interrupt(OperationId("op_x"), "ann")
        with pytest.raises(TurnNotFound):
            await at.desk.interrupt(Turn(ThreadId("t"), TurnId("u")), "ann")
