"""Pictures and texts that come with a message, and a schema for its answer."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codex_control_plane_mcp.desk.inputs import MAX_IMAGE_BYTES, InputItem, Words
from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.errors import DuplicatePromptActive, InvalidArgument
from codex_control_plane_mcp.model.ids import OperationId, TurnId
from codex_control_plane_mcp.model.operation import (
    Completed,
    Operation,
    Report,
    StructuredStatus,
)
from codex_control_plane_mcp.model.request import (
    CollaborationMode,
    DedupPolicy,
    ForkThread,
    LocalImage,
    OperationType,
    RemoteImage,
    SendMessage,
    StartChat,
    SteerTurn,
)
from codex_control_plane_mcp.store import lookup
from tests.desk.reception import Reception
from tests.desk.test_submit import send, start, stored
from tests.pictures import GIF, JPEG, PNG, WEBP

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


@pytest.fixture
def photo(at: Reception) -> Path:
    path = at.project / "till.png"
    path.write_bytes(PNG)
    return path


async def taken_in(at: Reception, *items: InputItem, **more: Any) -> StartChat:
    receipt = await at.desk.submit(start(at, items=items, **more))
    operation = await read(at, receipt.operation_id)
    assert isinstance(operation.request, StartChat)
    return operation.request


async def read(at: Reception, operation_id: str) -> Operation:
    (found,) = [one for one in await at.book.read(lookup.every) if one.id == operation_id]
    return found


async def refused(at: Reception, *items: InputItem, **more: Any) -> str:
    """What is said of it; and nothing is stored."""
    with pytest.raises(InvalidArgument) as error:
        await at.desk.submit(start(at, items=items, **more))
    assert await stored(at) == 0
    return str(error.value)


# --- Texts and pictures --------------------------------------------------------------------------


async def test_texts_follow_the_message_as_paragraphs_and_pictures_follow_both(
    at: Reception, photo: Path
) -> None:
    request = await taken_in(
        at,
        LocalImage(str(photo), "low"),
        Words("It is the left one."),
        RemoteImage("https://example.com/a.png?sig=1"),
        Words("Be quick."),
    )

    assert request.message == "mend the till\n\nIt is the left one.\n\nBe quick."
    assert request.attachments == (
        LocalImage(str(photo), "low"),
        RemoteImage("https://example.com/a.png?sig=1"),
    )


async def test_a_picture_is_named_by_its_real_path_however_it_was_spelled(
    at: Reception, photo: Path
) -> None:
    link = at.project / "link.jpg"
    link.symlink_to(photo)
    for spelled in (str(photo), "till.png", "../shop/till.png", str(link)):
        request = await taken_in(at, LocalImage(spelled), dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY)
        assert request.attachments == (LocalImage(str(photo)),)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.PNG", PNG), ("a.jpg", JPEG), ("a.jpeg", PNG), ("a.gif", GIF), ("a.webp", WEBP)],
)
async def test_every_kind_of_picture_is_known_by_its_content(
    at: Reception, name: str, content: bytes
) -> None:
    (at.project / name).write_bytes(content)
    request = await taken_in(at, LocalImage(name))
    assert request.attachments == (LocalImage(str(at.project / name)),)


async def test_a_picture_outside_the_roots_is_refused_and_nothing_else_is_told(
    at: Reception, tmp_path: Path
) -> None:
    outside = tmp_path / "secret.png"
    outside.write_bytes(PNG)
    link = at.project / "link.png"
    link.symlink_to(outside)
    for spelled in (str(outside), "../../secret.png", str(link), str(tmp_path / "not-there.png")):
        said = await refused(at, LocalImage(spelled))
        assert "leads outside the allowed folders" in said


async def test_what_is_no_picture_is_refused_by_name(at: Reception, photo: Path) -> None:
    (at.project / "notes.txt").write_bytes(PNG)
    (at.project / "text.png").write_text("I am no picture")
    (at.project / "empty.png").touch()
    (at.project / "folder.png").mkdir()
    os.mkfifo(at.project / "pipe.png")
    large = at.project / "large.png"
    large.write_bytes(PNG)
    os.truncate(large, MAX_IMAGE_BYTES + 1)
    for name, why in (
        ("notes.txt", ".png, .jpg"),
        ("text.png", "not a picture"),
        ("empty.png", "not a picture"),
        ("folder.png", "not a file"),
        ("pipe.png", "not a file"),
        ("large.png", "20000001 bytes"),
        ("gone.png", "No such file"),
        ("", "must not be empty"),
        ("~nobody-here/a.png", "No such file"),
        ("x" * 5000, "4096"),
    ):
        assert why in await refused(at, LocalImage(name)), name

    os.truncate(large, MAX_IMAGE_BYTES)
    await taken_in(at, LocalImage("large.png"))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "http://example.com/a.png",
        "http://127.0.0.1/a.png",
        "ftp://example.com/a.png",
        "https://",
        "https:///a.png",
        "https://[::1/a.png",
        "//example.com/a.png",
        "example.com/a.png",
        "https://example.com/a b.png",
        "https://example.com/\na.png",
        " https://example.com/a.png",
        "https://example.com/" + "a" * 8_192,
        "",
    ],
)
async def test_an_address_that_is_not_https_is_refused(at: Reception, url: str) -> None:
    assert "url" in await refused(at, RemoteImage(url))


async def test_ten_pictures_are_taken_and_eleven_are_not(at: Reception, photo: Path) -> None:
    assert "at most 10" in await refused(at, *[LocalImage("till.png")] * 11)
    request = await taken_in(at, *[LocalImage("till.png")] * 10)
    assert len(request.attachments) == 10


async def test_message_and_texts_together_are_bounded(at: Reception) -> None:
    assert "message" in await refused(at, Words("x" * 200_000))


async def test_the_same_words_with_another_picture_are_another_prompt(
    at: Reception, photo: Path
) -> None:
    (at.project / "door.png").write_bytes(PNG)
    await taken_in(at, LocalImage("till.png"))
    await taken_in(at, LocalImage("door.png"))
    with pytest.raises(DuplicatePromptActive):
        await taken_in(at, LocalImage("till.png"))


async def test_a_replay_is_answered_though_its_picture_is_gone(at: Reception, photo: Path) -> None:
    task = start(at, items=(LocalImage("till.png"),), client_request_id="r-1")
    first = await at.desk.submit(task)
    photo.unlink()

    again = await at.desk.submit(task)

    assert again.operation_id == first.operation_id
    assert again.idempotent is True


async def test_pictures_go_with_later_messages_and_with_steering(
    at: Reception, photo: Path
) -> None:
    first = await at.desk.submit(start(at))
    await at.workshop.start(first.operation_id)
    steered = await at.desk.submit(
        Task(
            operation_type=OperationType.STEER_TURN,
            message="look",
            thread_id="t-1",
            expected_turn_id="u-1",
            items=(LocalImage("till.png"),),
        )
    )
    await at.workshop.complete(first.operation_id)
    sent = await at.desk.submit(send("look again", "t-1", items=(LocalImage("till.png"),)))

    for receipt, kind in ((steered, SteerTurn), (sent, SendMessage)):
        request = (await read(at, receipt.operation_id)).request
        assert isinstance(request, kind)
        assert request.attachments == (LocalImage(str(photo)),)


async def test_the_status_counts_pictures_and_does_not_repeat_where_they_are(
    at: Reception, photo: Path
) -> None:
    secret = RemoteImage("https://example.com/a.png?sig=secret")
    receipt = await at.desk.submit(start(at, items=(LocalImage("till.png"), secret)))

    state = receipt.input_item_state
    assert state is not None
    assert (state.count, state.local_image_count, state.image_url_count) == (2, 1, 1)
    assert "secret" not in str(receipt)
    assert (await at.desk.submit(start(at, "no pictures"))).input_item_state is None


# --- Output schema -------------------------------------------------------------------------------


async def test_a_schema_is_stored_with_the_task_and_shown_as_a_state(at: Reception) -> None:
    receipt = await at.desk.submit(start(at, output_schema=SCHEMA))

    operation = await read(at, receipt.operation_id)
    assert isinstance(operation.request, StartChat)
    assert operation.request.options.output_schema == SCHEMA
    state = receipt.output_schema_state
    assert state is not None
    assert (state.provided, state.applied, state.structured_status) == (True, False, None)
    assert (await at.desk.submit(start(at, "another"))).output_schema_state is None


async def test_a_schema_is_refused_where_it_is_not_strict_or_there_is_no_answer_to_fit_it(
    at: Reception,
) -> None:
    assert "additionalProperties" in await refused(at, output_schema={"type": "object"})
    plan = CollaborationMode.PLAN
    assert "plan" in await refused(at, output_schema=SCHEMA, collaboration_mode=plan)
    with pytest.raises(InvalidArgument, match="output_schema"):
        await at.desk.submit(
            Task(
                operation_type=OperationType.STEER_TURN,
                message="look",
                thread_id="t-1",
                expected_turn_id="u-1",
                output_schema=SCHEMA,
            )
        )


async def test_a_fork_takes_pictures_and_a_schema_only_with_a_message(
    at: Reception, photo: Path
) -> None:
    first = await at.desk.submit(start(at))
    await at.workshop.start(first.operation_id)
    await at.workshop.complete(first.operation_id)
    fork = Task(operation_type=OperationType.FORK_THREAD, source_thread_id="t-1")
    picture = LocalImage("till.png")
    for task in (replace(fork, items=(picture,)), replace(fork, output_schema=SCHEMA)):
        with pytest.raises(InvalidArgument, match="go with a message"):
            await at.desk.submit(task)

    said = replace(fork, items=(Words("Look."), picture), output_schema=SCHEMA)
    operation = await read(at, (await at.desk.submit(said)).operation_id)
    assert isinstance(operation.request, ForkThread)
    assert operation.request.message == "Look."
    assert operation.request.attachments == (LocalImage(str(photo)),)


async def finished(at: Reception, text: str, structured: StructuredStatus | None) -> str:
    schema = None if structured is None else SCHEMA
    receipt = await at.desk.submit(start(at, text[:99] or "x", output_schema=schema))
    await at.workshop.start(receipt.operation_id)
    report = Report(text, TurnId("u-1"), structured=structured)
    await at.workshop.record(receipt.operation_id, Completed(report))
    return receipt.operation_id


async def test_a_valid_report_is_shown_as_an_object_and_any_other_as_text(at: Reception) -> None:
    valid = StructuredStatus.VALID
    for text, structured, expected in (
        ('{"answer": "42"}', valid, {"answer": "42"}),
        ('{"answer": 42}', StructuredStatus.INVALID, None),
        ("42!", StructuredStatus.NOT_JSON, None),
        ('{"answer": "not asked"}', None, None),
        ('{"answer": "' + "x" * 6_000 + '"}', valid, None),
    ):
        operation_id = await finished(at, text, structured)
        shown = await at.desk.status(Look(operation_id=OperationId(operation_id)))
        assert shown.final_report is not None
        assert shown.final_report.structured == expected
        assert shown.final_report.structured_status is structured
        assert shown.final_report.text == text[:6_000]
        state = shown.output_schema_state
        assert (state.structured_status if state else None) is structured
