"""Whether a task would run, and what to do where it would not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import anyio
import pytest

from codex_control_plane_mcp.codex.inventory import Inventory
from codex_control_plane_mcp.codex.words.things import (
    Account,
    Model,
    PermissionProfile,
    Requirements,
)
from codex_control_plane_mcp.desk.preflight import PROBE_SECONDS, OnDisk, Planned, folder_checks
from codex_control_plane_mcp.desk.projects import Place
from codex_control_plane_mcp.desk.runtime import CodexState, CodexWord
from codex_control_plane_mcp.desk.views_inventory import Check, PreflightView
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import OperationId, ProjectId
from codex_control_plane_mcp.model.operation import Failed, Operation, Trouble
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import StartChat
from codex_control_plane_mcp.store import lookup
from tests.desk.reception import Reception
from tests.desk.test_status import running

MODEL = Model("gpt", "gpt", "GPT", True, False, (), (), None, 0)
ALL_WELL = Inventory(
    models=(MODEL,),
    permission_profiles=(PermissionProfile(":workspace", None, True),),
    requirements=Requirements(None, None),
    sandbox_readiness="not_applicable",
    account=Account("apiKey", None, requires_openai_auth=True),
)


@pytest.fixture
def at(at: Reception) -> Reception:
    says(at)
    return at


def says(at: Reception, **changes: Any) -> None:
    """What Codex says of itself."""
    at.runtime.word = CodexWord("0.163.0", None, replace(ALL_WELL, **changes))


async def looked(at: Reception, **planned: Any) -> tuple[PreflightView, dict[str, Check]]:
    given = {"cwd": str(at.project)} | planned
    shown = await at.desk.preflight(Planned(**given))
    return shown, {one.name: one for one in shown.checks}


async def every_operation(at: Reception) -> list[Operation]:
    return await at.book.read(lookup.every)


async def test_where_nothing_is_wrong_it_says_so_and_submits_nothing(at: Reception) -> None:
    shown, checks = await looked(at)
    assert shown.status == "ready"
    assert shown.next_recommended_action == "submit_task"
    assert (shown.sandbox, shown.approval_policy) == ("read-only", "on-request")
    assert [one for one in checks.values() if one.advice] == []
    assert await every_operation(at) == []


@pytest.mark.parametrize("cwd", ["/", "missing", "relative/../x"])
async def test_a_folder_that_no_task_may_work_in_is_named(at: Reception, cwd: str) -> None:
    shown, checks = await looked(at, cwd=str(at.project / cwd) if cwd == "missing" else cwd)
    assert (shown.status, checks["folder"].status) == ("not_ready", "failed")
    assert shown.cwd is None
    assert "writable" not in checks
    assert checks["app_server"].status == "ok"


async def test_a_project_that_there_is_not_is_named(at: Reception) -> None:
    shown, checks = await looked(at, cwd=None, project="bakery")
    assert shown.status == "not_ready"
    assert "bakery" in checks["folder"].message


async def test_no_folder_at_all_is_a_mistake(at: Reception) -> None:
    with pytest.raises(InvalidArgument):
        await at.desk.preflight(Planned())


def test_a_folder_that_cannot_be_written_stops_a_task_that_writes() -> None:
    place, disk = Place("/shop", ProjectId("shop")), OnDisk(writable=False, has_git=True)

    def status(sandbox: Sandbox) -> str:
        return {one.name: one.status for one in folder_checks(place, disk, sandbox)}["writable"]

    assert status(Sandbox.READ_ONLY) == "ok"
    assert status(Sandbox.WORKSPACE_WRITE) == "failed"


async def test_changes_without_git_are_worth_a_warning(at: Reception) -> None:
    shown, checks = await looked(at, sandbox=Sandbox.WORKSPACE_WRITE)
    assert (shown.status, checks["git"].status) == ("ready_with_warnings", "warning")
    (at.project / ".git").mkdir()
    shown, checks = await looked(at, sandbox=Sandbox.WORKSPACE_WRITE)
    assert (shown.status, checks["git"].status) == ("ready", "ok")


async def test_without_codex_nothing_runs(at: Reception) -> None:
    at.runtime.binary = CodexState(problem="no Codex found: install it")
    at.runtime.word = CodexWord(problem="no Codex found: install it")
    shown, checks = await looked(at)
    assert shown.status == "not_ready"
    assert (checks["codex"].status, checks["app_server"].status) == ("failed", "failed")
    assert checks["login"].status == checks["model"].status == "unknown"


@pytest.mark.parametrize(
    ("account", "status"),
    [
        (Account(None, None, requires_openai_auth=True), "failed"),
        (Account(None, None, requires_openai_auth=False), "ok"),
        (None, "unknown"),
    ],
)
async def test_somebody_must_be_logged_in_where_the_provider_wants_it(
    at: Reception, account: Account | None, status: str
) -> None:
    says(at, account=account)
    _, checks = await looked(at)
    assert checks["login"].status == status


async def test_a_model_that_codex_does_not_list_is_worth_a_warning(at: Reception) -> None:
    _, checks = await looked(at, model="gpt")
    assert checks["model"].status == "ok"
    shown, checks = await looked(at, model="unheard-of")
    assert (shown.status, checks["model"].status) == ("ready_with_warnings", "warning")
    assert checks["model"].advice == "use one that it lists: gpt"


@pytest.mark.parametrize(
    "changes",
    [
        {"requirements": Requirements(("read-only",), None)},
        {"permission_profiles": (PermissionProfile(":workspace", None, False),)},
        {"sandbox_readiness": "notConfigured"},
    ],
)
async def test_a_sandbox_that_cannot_be_had_stops_it(
    at: Reception, changes: dict[str, Any]
) -> None:
    says(at, **changes)
    shown, checks = await looked(at, sandbox=Sandbox.WORKSPACE_WRITE)
    assert (shown.status, checks["sandbox"].status) == ("not_ready", "failed")
    assert checks["sandbox"].advice


async def test_an_approval_policy_that_is_not_allowed_stops_it(at: Reception) -> None:
    says(at, requirements=Requirements(None, ("untrusted",)))
    shown, checks = await looked(at, approval_policy=ApprovalPolicy.NEVER)
    assert (shown.status, checks["approval_policy"].status) == ("not_ready", "failed")


async def test_a_full_queue_means_waiting(at: Reception) -> None:
    for number in range(3):
        await running(at, number)
    _, checks = await looked(at)
    assert checks["queue"].status == "warning"
    assert "the project's turn slots" in checks["queue"].message


# --- The live probe ------------------------------------------------------------------------------


async def test_a_probe_is_a_task_that_may_not_write_and_says_what_it_is(at: Reception) -> None:
    async with anyio.create_task_group() as tasks:

        async def work() -> None:
            with at.book.bell.listening() as change:
                while not (known := await every_operation(at)):
                    await change.wait()
            await at.workshop.start(known[0].id)
            await at.workshop.complete(known[0].id, "OK")

        tasks.start_soon(work)
        shown, checks = await looked(at, live_probe=True, sandbox=Sandbox.DANGER_FULL_ACCESS)

    (operation,) = await every_operation(at)
    request = operation.request
    assert isinstance(request, StartChat)
    assert request.message.startswith("MCP LIVE TEST / DO NOT MODIFY FILES\n")
    assert (request.options.sandbox, request.options.approval_policy) == ("read-only", "never")
    assert shown.live_probe is not None
    assert (shown.live_probe.status, shown.live_probe.answer) == ("completed", "OK")
    assert checks["live_probe"].status == "ok"


async def test_a_probe_that_takes_long_leaves_its_handle(at: Reception) -> None:
    began = anyio.current_time()
    shown, checks = await looked(at, live_probe=True)
    assert anyio.current_time() - began == PROBE_SECONDS
    assert shown.status == "ready_with_warnings"
    assert checks["live_probe"].status == "unknown"
    assert shown.live_probe is not None
    assert shown.live_probe.status == "queued"

    again, _ = await looked(at, live_probe=True)
    assert again.live_probe is not None
    assert again.live_probe.operation_id == shown.live_probe.operation_id
    assert len(await every_operation(at)) == 1


async def test_a_probe_that_fails_says_why_and_later_another_is_made(at: Reception) -> None:
    shown, _ = await looked(at, live_probe=True)
    assert shown.live_probe is not None
    first = OperationId(shown.live_probe.operation_id)
    await at.workshop.start(first)
    await at.workshop.record(first, Failed(Trouble("usageLimitExceeded", "no more today")))
    shown, checks = await looked(at, live_probe=True)
    assert (shown.status, checks["live_probe"].message) == ("not_ready", "no more today")

    at.clock.at += 60_000
    shown, _ = await looked(at, live_probe=True)
    assert shown.live_probe is not None
    assert shown.live_probe.operation_id != first


async def test_what_would_not_run_is_not_probed(at: Reception) -> None:
    says(at, account=Account(None, None, requires_openai_auth=True))
    shown, _ = await looked(at, live_probe=True)
    assert shown.live_probe is None
    assert await every_operation(at) == []
