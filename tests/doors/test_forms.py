"""Codex's questions as forms at the client, beside the inbox and never in its place."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from mcp.types import ElicitResult

from codex_control_plane_mcp.desk.wait import ANSWER_SECONDS
from codex_control_plane_mcp.doors.mcp.forms import MAX_MESSAGE_CHARS
from codex_control_plane_mcp.doors.mcp.progress import SILENCE_SECONDS
from codex_control_plane_mcp.store import lookup
from tests.desk.reception import COMMAND_APPROVAL, USER_INPUT, Reception
from tests.desk.test_status import running
from tests.doors.eras import LEGACY, MODERN, Person, both_eras, call, client_in, says

FORM = "mcpServer/elicitation/request"


@pytest.fixture
async def delivering(at: Reception) -> Any:
    """Answers reach Codex."""
    async with anyio.create_task_group() as group:

        async def deliver() -> None:
            with at.book.bell.listening() as listener:
                while True:
                    await at.workshop.grant_wishes()
                    await listener.wait()

        group.start_soon(deliver)
        yield
        group.cancel_scope.cancel()


async def asked(at: Reception) -> list[dict[str, Any]]:
    async with client_in(LEGACY, at.desk) as client:
        shown = await call(client, "codex_list_pending_interactions")
    found: list[dict[str, Any]] = shown["interactions"]
    return found


@both_eras
@pytest.mark.usefixtures("delivering")
async def test_who_waits_is_asked_and_the_answer_is_codexs(at: Reception, era: str) -> None:
    id_ = await running(at)
    await at.workshop.ask(id_, {"command": "rm -r build", "cwd": "/shop", "reason": "to clean up"})
    person = Person(says(decision="accept"))
    async with client_in(era, at.desk, elicitation_callback=person) as client:
        with anyio.fail_after(60):
            shown = await call(client, "codex_wait", operation_ids=[id_], wait_seconds=45)
        assert [one["status"] for one in shown["operations"]] in ([], ["running"])
    (form,) = person.shown
    assert form.message == (
        "May Codex run this command?\nCommand: rm -r build\nFolder: /shop\nReason: to clean up\n"
        "Risk: may run outside the sandbox"
    )
    assert "title" not in form.requested_schema
    assert "accept" in form.requested_schema["properties"]["decision"]["enum"]
    assert await asked(at) == []
    (answered,) = await all_questions(at)
    assert answered["answeredBy"].endswith("(form)")


async def all_questions(at: Reception) -> list[dict[str, Any]]:
    async with client_in(LEGACY, at.desk) as client:
        shown = await call(client, "codex_list_pending_interactions", status="answered")
    found: list[dict[str, Any]] = shown["interactions"]
    return found


@both_eras
@pytest.mark.parametrize(
    "reply",
    [
        ElicitResult(action="decline"),
        ElicitResult(action="cancel"),
        ElicitResult(action="accept", content={}),
        says(decision="anything"),
    ],
    ids=["declined", "put-away", "empty", "not-on-offer"],
)
async def test_a_form_that_says_nothing_leaves_the_question_in_the_inbox(
    at: Reception, era: str, reply: ElicitResult
) -> None:
    id_ = await running(at)
    await at.workshop.ask(id_, {"command": "rm -r build"})
    person = Person(reply)
    async with client_in(era, at.desk, elicitation_callback=person) as client:
        with anyio.fail_after(60):
            shown = await call(client, "codex_wait", operation_ids=[id_], wait_seconds=45)
    assert len(person.shown) == 1
    assert shown["operations"][0]["nextRecommendedAction"] == "answer_pending_interaction"
    assert len(await asked(at)) == 1


@pytest.mark.usefixtures("delivering")
async def test_a_form_is_withdrawn_once_somebody_else_has_answered(at: Reception) -> None:
    id_ = await running(at)
    question = await at.workshop.ask(id_, {"command": "rm -r build"})

    async def nobody(_context: Any, _params: Any) -> ElicitResult:
        await anyio.sleep_forever()
        raise AssertionError

    async with (
        client_in(LEGACY, at.desk, elicitation_callback=nobody) as client,
        anyio.create_task_group() as group,
    ):

        async def answer_elsewhere() -> None:
            await anyio.sleep(10)
            async with client_in(LEGACY, at.desk) as other:
                await call(
                    other,
                    "codex_answer_pending_interaction",
                    interaction_id=question,
                    decision="decline",
                )

        group.start_soon(answer_elsewhere)
        began = anyio.current_time()
        await call(client, "codex_wait", operation_ids=[id_], wait_seconds=45)
        assert anyio.current_time() - began == 10


async def test_a_client_hears_who_is_waited_for_while_it_shows_a_form(at: Reception) -> None:
    id_ = await running(at)
    await at.workshop.ask(id_, {"command": "rm -r build"})
    heard: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    async def thinks(_context: Any, _params: Any) -> ElicitResult:
        await anyio.sleep(SILENCE_SECONDS + 1)
        return ElicitResult(action="decline")

    async with client_in(LEGACY, at.desk, elicitation_callback=thinks) as client:
        arguments = {"operation_ids": [id_], "wait_seconds": 45}
        await client.call_tool("codex_wait", arguments, progress_callback=hear)
    assert heard
    assert all(said and said.startswith("waiting_for_approval") for said in heard)


async def test_nobody_is_kept_longer_than_they_wanted_to_wait(at: Reception) -> None:
    id_ = await running(at)
    await at.workshop.ask(id_, {"command": "rm -r build"})

    async def nobody(_context: Any, _params: Any) -> ElicitResult:
        await anyio.sleep_forever()
        raise AssertionError

    async with client_in(LEGACY, at.desk, elicitation_callback=nobody) as client:
        began = anyio.current_time()
        shown = await call(client, "codex_wait", operation_ids=[id_], wait_seconds=30)
        assert anyio.current_time() - began == 30
        assert shown["operations"][0]["nextRecommendedAction"] == "answer_pending_interaction"
        # A look is a look.
        shown = await call(client, "codex_get_operation_status", operation_id=id_)
        assert anyio.current_time() - began == 30
        assert len(shown["pendingInteractions"]) == 1


@both_eras
@pytest.mark.usefixtures("delivering")
async def test_a_question_that_was_open_before_is_put_before_the_waiting(
    at: Reception, era: str
) -> None:
    id_ = await running(at)
    await at.workshop.ask(id_, {"command": "rm -r build"})
    shown_at: list[float] = []

    async def person(_context: Any, _params: Any) -> ElicitResult:
        shown_at.append(anyio.current_time())
        return says(decision="accept")

    async with client_in(era, at.desk, elicitation_callback=person) as client:
        began = anyio.current_time()
        with anyio.fail_after(60):
            await call(client, "codex_get_operation_status", operation_id=id_, wait_seconds=45)
    assert shown_at == [began]
    assert await asked(at) == []


async def test_a_form_that_was_put_away_is_not_shown_again_in_the_same_call(
    at: Reception,
) -> None:
    id_ = await running(at)
    await at.workshop.ask(id_, {"command": "rm -r build"})
    person = Person(ElicitResult(action="decline"))
    async with client_in(LEGACY, at.desk, elicitation_callback=person) as client:
        began = anyio.current_time()
        await call(client, "codex_get_operation_status", operation_id=id_, wait_seconds=20)
        assert anyio.current_time() - began == 20
    assert len(person.shown) == 1


@both_eras
async def test_a_yes_to_a_form_that_was_not_filled_in_is_no_answer(at: Reception, era: str) -> None:
    id_ = await running(at)
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}},
        "required": ["sure"],
    }
    told = {"serverName": "files", "mode": "form", "message": "Sure?", "requestedSchema": schema}
    await at.workshop.ask(id_, told, FORM, 1)
    person = Person(ElicitResult(action="accept", content={}))
    async with client_in(era, at.desk, elicitation_callback=person) as client:
        with anyio.fail_after(60):
            await call(client, "codex_wait", operation_ids=[id_], wait_seconds=45)
    assert len(person.shown) == 1
    assert len(await asked(at)) == 1


@both_eras
@pytest.mark.usefixtures("delivering")
async def test_questions_and_forms_of_codexs_own_servers_are_asked_as_they_are(
    at: Reception, era: str
) -> None:
    id_ = await running(at)
    option = {"label": "red", "description": "like fire"}
    question = {"id": "q1", "header": "Colour", "question": "Which?", "options": [option]}
    await at.workshop.ask(id_, {"questions": [question]}, USER_INPUT, 1)
    schema = {"type": "object", "title": "T", "properties": {"sure": {"type": "boolean"}}}
    told = {"serverName": "files", "mode": "form", "message": "Sure?", "requestedSchema": schema}
    await at.workshop.ask(id_, told, FORM, 2)
    person = Person(says(q1="red"), says(sure=True))
    async with client_in(era, at.desk, elicitation_callback=person) as client:
        with anyio.fail_after(60):
            await call(client, "codex_wait", operation_ids=[id_], wait_seconds=45)
    words, form = sorted(person.shown, key=lambda one: one.message)
    assert words.requested_schema["properties"]["q1"]["enum"] == ["red"]
    assert form.requested_schema == {"type": "object", "properties": schema["properties"]}
    assert await asked(at) == []


@pytest.mark.parametrize(
    ("params", "method"),
    [
        ({"command": "x" * MAX_MESSAGE_CHARS}, COMMAND_APPROVAL),
        (
            {"questions": [{"id": "q", "header": "Key", "question": "?", "isSecret": True}]},
            USER_INPUT,
        ),
        (
            {"serverName": "s", "mode": "url", "message": "Go", "url": "https://x"},
            FORM,
        ),
    ],
    ids=["too-long", "a-secret", "an-address"],
)
@both_eras
async def test_what_a_form_must_not_ask_is_left_to_the_inbox(
    at: Reception, era: str, params: dict[str, Any], method: str
) -> None:
    id_ = await running(at)
    await at.workshop.ask(id_, params, method)
    person = Person()
    async with client_in(era, at.desk, elicitation_callback=person) as client:
        shown = await call(client, "codex_wait", operation_ids=[id_], wait_seconds=45)
    assert not person.shown
    assert shown["operations"][0]["nextRecommendedAction"] == "answer_pending_interaction"


async def test_a_client_without_forms_is_told_as_ever(at: Reception) -> None:
    id_ = await running(at)
    await at.workshop.ask(id_, {"command": "rm -r build"})
    for era in (LEGACY, MODERN):
        async with client_in(era, at.desk) as client:
            shown = await call(client, "codex_wait", operation_ids=[id_], wait_seconds=45)
        assert shown["operations"][0]["nextRecommendedAction"] == "answer_pending_interaction"


@pytest.mark.usefixtures("delivering")
async def test_the_drop_in_call_asks_too_and_still_answers_in_time(at: Reception) -> None:
    person = Person(says(decision="accept"))
    arguments = {"prompt": "mend the till", "cwd": str(at.project)}
    async with (
        client_in(LEGACY, at.desk, elicitation_callback=person) as client,
        anyio.create_task_group() as group,
    ):

        async def work() -> None:
            await anyio.sleep(10)
            (operation,) = await at.book.read(lookup.unfinished)
            await at.workshop.start(operation.id)
            await at.workshop.ask(operation.id, {"command": "rm -r build"})

        group.start_soon(work)
        began = anyio.current_time()
        waited = await call(client, "codex", **arguments)
        assert anyio.current_time() - began == ANSWER_SECONDS
    assert len(person.shown) == 1
    assert (waited["status"], waited["pendingInteractions"]) == ("running", [])
    assert "same call again" in waited["content"]
