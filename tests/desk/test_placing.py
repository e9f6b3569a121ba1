"""Which host a task is for, said where one machine runs alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from codex_control_plane_mcp.desk.placing import check_pictures
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import HostId, ProjectId
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    LocalImage,
    Placement,
    StartChat,
    Submission,
    TurnOptions,
    payload_hash,
)
from tests.desk.reception import Reception, reception
from tests.doors.clients import calling, task

OPTIONS = TurnOptions(Sandbox.READ_ONLY, ApprovalPolicy.ON_REQUEST)


async def test_a_machine_alone_hands_no_task_to_another_host(at: Reception) -> None:
    async with calling(at) as client:
        for tool, wanted in (
            ("codex_submit_task", task(at)),
            ("codex_start_plan_workflow", {"message": "Plan it.", "cwd": task(at)["cwd"]}),
        ):
            error = await client.refused(tool, **{**wanted, "host": "another"})
            assert error["code"] == "INVALID_ARGUMENT"
            assert "runs alone and cannot hand a task to 'another'" in error["message"]
            error = await client.refused(tool, **{**wanted, "host_labels": ["gpu"]})
            assert "does not have: gpu" in error["message"]


async def test_a_machine_alone_may_be_named_and_has_its_labels(tmp_path: Path) -> None:
    with reception(tmp_path, host="me", host_labels=("gpu",)) as at:
        async with calling(at) as client:
            wanted = task(at, client_request_id="one")
            first = await client.ok("codex_submit_task", **wanted, host="me")
            again = await client.ok("codex_submit_task", **wanted, host_labels=["gpu"])
            assert again["operationId"] == first["operationId"]
            assert again["idempotent"]


async def test_only_what_begins_anew_names_a_host_and_not_in_two_ways(at: Reception) -> None:
    async with calling(at) as client:
        follows = {"operation_type": "send_message", "thread_id": "t-1", "message": "More."}
        error = await client.refused("codex_submit_task", **follows, host="me")
        assert "a thread stays on its host" in error["message"]
        error = await client.refused("codex_submit_task", **task(at), host="me", host_labels=["a"])
        assert error["message"] == "give host or host_labels, not both"
        error = await client.refused("codex_submit_task", **task(at), host_labels=["a b"])
        assert "'a b' is none" in error["message"]
        review = {"target_type": "uncommitted_changes", "thread_id": "t-1", "host": "me"}
        error = await client.refused("codex_start_review_workflow", **review)
        assert error["code"] == "INVALID_ARGUMENT"


async def test_a_picture_on_this_disk_is_for_this_host(tmp_path: Path) -> None:
    picture = StartChat(
        "Look.", "/house", ProjectId("house"), OPTIONS, attachments=(LocalImage("/house/a.png"),)
    )
    with reception(tmp_path, host="me", host_labels=("gpu",)) as at:
        settings = at.desk.settings
        for fits in (Placement(), Placement(HostId("me")), Placement(labels=("gpu",))):
            check_pictures(picture, fits, settings)
        for other in (Placement(HostId("west")), Placement(labels=("mac",))):
            with pytest.raises(InvalidArgument, match="is on the disk of me"):
                check_pictures(picture, other, settings)


def test_where_it_shall_run_is_part_of_what_was_asked() -> None:
    request = StartChat("Do it.", "/house", ProjectId("house"), OPTIONS)
    placements = (Placement(), Placement(HostId("west")), Placement(labels=("gpu",)))
    hashes = {payload_hash(Submission(request, placement=one)) for one in placements}
    assert len(hashes) == 3
