"""What happens to a task on its way in."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from codex_control_plane_mcp.desk.projects import project_id
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.errors import (
    DuplicatePromptActive,
    IdempotencyMismatch,
    InvalidArgument,
    ProjectNotFound,
)
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import DedupPolicy, OperationType, StartChat
from codex_control_plane_mcp.store import lookup
from tests.desk.reception import Reception, reception

pytestmark = pytest.mark.over_both


def start(at: Reception, message: str = "mend the till", **more: Any) -> Task:
    given: dict[str, Any] = {"cwd": str(at.project), **more}
    return Task(operation_type=OperationType.START_CHAT, message=message, **given)


def send(message: str, thread: str, **more: Any) -> Task:
    return Task(
        operation_type=OperationType.SEND_MESSAGE, message=message, thread_id=thread, **more
    )


async def stored(at: Reception) -> int:
    return len(await at.book.read(lookup.unfinished))


async def test_a_task_is_acknowledged_queued_and_stored_before_anything_runs(
    at: Reception,
) -> None:
    receipt = await at.desk.submit(start(at, client_request_id="r-1"))

    assert receipt.status is Status.QUEUED
    assert receipt.idempotent is False
    assert receipt.queue_state.state == "queued"
    (operation,) = await at.book.read(lookup.unfinished)
    assert operation.id == receipt.operation_id
    assert isinstance(operation.request, StartChat)
    assert operation.request == StartChat(
        message="mend the till",
        cwd=str(at.project),
        project_id=project_id(at.project),
        options=operation.request.options,
    )


async def test_the_defaults_are_read_only_and_on_request(at: Reception) -> None:
    await at.desk.submit(start(at))

    (operation,) = await at.book.read(lookup.unfinished)
    assert isinstance(operation.request, StartChat)
    options = operation.request.options
    assert (options.sandbox, options.approval_policy, options.model) == (
        Sandbox.READ_ONLY,
        ApprovalPolicy.ON_REQUEST,
        None,
    )


async def test_the_same_client_request_id_again_is_the_same_operation(at: Reception) -> None:
    first = await at.desk.submit(start(at, client_request_id="r-1"))
    await at.workshop.start(first.operation_id)
    await at.workshop.complete(first.operation_id)

    again = await at.desk.submit(start(at, client_request_id="r-1"))

    assert again.operation_id == first.operation_id
    assert again.idempotent is True
    assert again.status is Status.COMPLETED


async def test_the_same_client_request_id_with_another_payload_is_refused(at: Reception) -> None:
    first = await at.desk.submit(start(at, client_request_id="r-1"))

    with pytest.raises(IdempotencyMismatch) as refused:
        await at.desk.submit(start(at, "something else", client_request_id="r-1"))

    assert refused.value.details["existingOperationId"] == first.operation_id
    assert await stored(at) == 1


async def test_the_same_prompt_while_it_is_worked_on_names_the_first(at: Reception) -> None:
    first = await at.desk.submit(start(at, "Mend the  till"))
    await at.workshop.start(first.operation_id)

    with pytest.raises(DuplicatePromptActive) as refused:
        await at.desk.submit(start(at, "mend the till"))

    assert refused.value.details["existingOperationId"] == first.operation_id
    assert refused.value.details["threadId"] == "t-1"


async def test_similar_prompts_both_run(at: Reception) -> None:
    await at.desk.submit(start(at, "review PR #41"))
    await at.desk.submit(start(at, "review PR #42"))

    assert await stored(at) == 2


async def test_the_same_prompt_runs_again_once_the_first_is_final_or_on_demand(
    at: Reception,
) -> None:
    first = await at.desk.submit(start(at))
    second = await at.desk.submit(start(at, dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY))
    await at.workshop.start(first.operation_id)
    await at.workshop.complete(first.operation_id)
    third = await at.desk.submit(start(at))

    assert len({first.operation_id, second.operation_id, third.operation_id}) == 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"message": ""}, "message"),
        ({"message": " \n"}, "message"),
        ({"message": "x" * 200_001}, "message"),
        ({"message": "a\0b"}, "message"),
        ({"message": "a\ud800b"}, "message"),
        ({"client_request_id": "r" * 201}, "client_request_id"),
        ({"title": ""}, "title"),
        ({"cwd": None}, "cwd"),
        ({"cwd": "roots/shop"}, "cwd"),
        ({"cwd": "/"}, "cwd"),
        ({"cwd": "a\0b"}, "cwd"),
        ({"thread_id": "t-1"}, "thread_id"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_name_and_nothing_is_stored(
    at: Reception, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await at.desk.submit(replace(start(at), **change))

    assert named in refused.value.message
    assert await stored(at) == 0


async def test_the_longest_message_is_taken(at: Reception) -> None:
    await at.desk.submit(start(at, "ä" * 200_000))

    assert await stored(at) == 1


async def test_a_cwd_outside_the_roots_is_refused_however_it_is_spelled(
    at: Reception, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (at.project / "link").symlink_to(outside)
    for cwd in (outside, at.project / ".." / ".." / "outside", at.project / "link"):
        with pytest.raises(InvalidArgument, match="outside the allowed folders"):
            await at.desk.submit(start(at, cwd=str(cwd)))
    assert await stored(at) == 0


async def test_whether_a_path_outside_the_roots_exists_is_not_told(
    at: Reception, tmp_path: Path
) -> None:
    said = []
    for cwd in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InvalidArgument) as refused:
            await at.desk.submit(start(at, cwd=str(cwd)))
        said.append(refused.value.message)

    assert said[0] == said[1]


async def test_a_folder_that_does_not_exist_is_refused(at: Reception) -> None:
    with pytest.raises(InvalidArgument, match="not a folder that exists"):
        await at.desk.submit(start(at, cwd=str(at.project / "nothing")))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows' names have one case")
async def test_another_case_is_another_folder(at: Reception) -> None:
    with pytest.raises(InvalidArgument):
        await at.desk.submit(start(at, cwd=str(at.project).replace("roots", "ROOTS")))


async def test_a_link_within_the_roots_is_the_folder_it_leads_to(at: Reception) -> None:
    link = at.project.parent / "alias"
    link.symlink_to(at.project)

    receipt = await at.desk.submit(start(at, cwd=str(link)))

    assert receipt.cwd == str(at.project)
    assert receipt.project_id == project_id(at.project)


async def test_without_roots_the_setting_to_set_is_named(tmp_path: Path) -> None:
    with (
        reception(tmp_path, projects_root=None) as at,
        pytest.raises(InvalidArgument, match="CODEX_ALLOWED_ROOTS"),
    ):
        await at.desk.submit(start(at))


async def test_a_project_is_named_by_id_by_path_or_by_exact_name(at: Reception) -> None:
    for number, name in enumerate((project_id(at.project), str(at.project), "shop")):
        receipt = await at.desk.submit(start(at, f"task {number}", cwd=None, project=name))
        assert (receipt.project_id, receipt.cwd) == (project_id(at.project), str(at.project))


async def test_an_unknown_project_is_not_found(at: Reception) -> None:
    for name in ("shops", "SHOP", "shop-00000000"):
        with pytest.raises(ProjectNotFound):
            await at.desk.submit(start(at, cwd=None, project=name))


async def test_a_name_that_two_projects_have_must_be_made_clear(tmp_path: Path) -> None:
    other = tmp_path / "more" / "shop"
    other.mkdir(parents=True)
    roots = (other.parent.resolve(),)
    with (
        reception(tmp_path, allowed_roots=roots) as at,
        pytest.raises(InvalidArgument, match=project_id(other.resolve())),
    ):
        await at.desk.submit(start(at, cwd=None, project="shop"))


async def test_a_cwd_must_be_within_the_project_that_is_named_with_it(at: Reception) -> None:
    inner, other = at.project / "inner", at.project.parent / "other"
    inner.mkdir()
    other.mkdir()

    receipt = await at.desk.submit(start(at, project="shop", cwd=str(inner)))
    assert (receipt.project_id, receipt.cwd) == (project_id(at.project), str(inner))

    with pytest.raises(InvalidArgument, match="not within the project"):
        await at.desk.submit(start(at, project="shop", cwd=str(other)))


async def test_a_folder_deep_in_a_project_counts_to_the_project(at: Reception) -> None:
    deep = at.project / "a" / "b"
    deep.mkdir(parents=True)

    assert (await at.desk.submit(start(at, cwd=str(deep)))).project_id == project_id(at.project)


async def test_a_message_goes_where_its_thread_works(at: Reception) -> None:
    first = await at.desk.submit(start(at))
    await at.workshop.start(first.operation_id, thread="t-7")
    await at.workshop.complete(first.operation_id)

    receipt = await at.desk.submit(send("and the scales", "t-7"))

    assert receipt.operation_type is OperationType.SEND_MESSAGE
    assert (receipt.thread_id, receipt.cwd) == ("t-7", str(at.project))


async def test_a_message_to_an_unknown_thread_needs_a_place(at: Reception) -> None:
    with pytest.raises(InvalidArgument, match="project_id or cwd"):
        await at.desk.submit(send("hello", "t-x"))

    receipt = await at.desk.submit(send("hello", "t-x", cwd=str(at.project)))
    assert receipt.thread_id == "t-x"


async def test_a_message_to_a_thread_that_only_codex_knows_works_where_codex_says(
    at: Reception,
) -> None:
    at.runtime.folders[ThreadId("t-x")] = str(at.project)
    receipt = await at.desk.submit(send("hello", "t-x"))
    assert receipt.cwd == str(at.project)

    at.runtime.folders[ThreadId("t-y")] = "/"
    with pytest.raises(InvalidArgument, match="outside the allowed folders"):
        await at.desk.submit(send("hello", "t-y"))


async def test_a_message_cannot_move_its_thread_to_another_folder(at: Reception) -> None:
    other = at.project.parent / "other"
    other.mkdir()
    await at.desk.submit(send("hello", "t-x", cwd=str(at.project)))

    for place in ({"cwd": str(other)}, {"project": "other"}):
        with pytest.raises(InvalidArgument, match="this thread works in"):
            await at.desk.submit(send("again", "t-x", **place))
    await at.desk.submit(send("again", "t-x", project="shop"))


async def test_the_queue_says_what_a_task_waits_for(tmp_path: Path) -> None:
    with reception(tmp_path, max_active_turns_per_project=1) as at:
        for message in ("one", "two"):
            await at.desk.submit(start(at, message))
            at.clock.at += 1
        third = await at.desk.submit(start(at, "three"))

    assert third.queue_state.position == 3
    assert third.queue_state.reason == "the project's turn slots are taken"


async def _submitted_by_many(at: Reception, count: int) -> list[tuple[str, bool | None]]:
    receipts: list[tuple[str, bool | None]] = []

    async def submit() -> None:
        receipt = await at.desk.submit(start(at, client_request_id="r-1"))
        receipts.append((receipt.operation_id, receipt.idempotent))

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(submit)
    return receipts


async def test_thirty_submits_at_once_make_one_operation(at: Reception) -> None:
    receipts = await _submitted_by_many(at, 30)

    assert len({id_ for id_, _ in receipts}) == 1
    assert [idempotent for _, idempotent in receipts].count(False) == 1


class TestOnPostgres:
    """Where several machines write, the unique indexes decide who was first."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_submits_at_once_make_one_operation(
        self, tmp_path: Path, postgres_url: str
    ) -> None:
        first, second = tmp_path / "a", tmp_path / "b"
        with (
            reception(first, postgres_url=postgres_url, threads=True) as one,
            reception(second, postgres_url=postgres_url, threads=True) as two,
        ):
            receipts: list[tuple[str, bool | None]] = []

            async def submit(at: Reception) -> None:
                task = start(one, client_request_id="r-1")
                receipt = await at.desk.submit(task)
                receipts.append((receipt.operation_id, receipt.idempotent))

            object.__setattr__(two.settings, "projects_root", one.settings.projects_root)
            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    for _ in range(8):
                        group.start_soon(submit, one)
                        group.start_soon(submit, two)

        assert len({id_ for id_, _ in receipts}) == 1
        assert [idempotent for _, idempotent in receipts].count(False) == 1


def test_a_project_keeps_its_id_for_as_long_as_its_path(tmp_path: Path) -> None:
    assert project_id(tmp_path / "My Shop!") == project_id(tmp_path / "My Shop!")
    assert project_id(tmp_path / "My Shop!").startswith("my-shop-")
    assert project_id(tmp_path / "a") != project_id(tmp_path / "b" / "a")
    assert os.sep not in project_id(Path(tmp_path.anchor))
