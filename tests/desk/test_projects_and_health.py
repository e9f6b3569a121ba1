"""Which projects there are, and whether everything is in order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.desk import Projects
from codex_control_plane_mcp.desk.diagnosis import surroundings
from codex_control_plane_mcp.desk.health import Scope
from codex_control_plane_mcp.desk.projects import project_id
from codex_control_plane_mcp.desk.runtime import AppServerState, CodexState
from codex_control_plane_mcp.errors import (
    InvalidArgument,
    OperationNotFound,
    ThreadNotFound,
    WorkflowNotFound,
)
from codex_control_plane_mcp.journal_hook import COMPLETE
from codex_control_plane_mcp.model.ids import OperationId, ThreadId, WorkflowId
from codex_control_plane_mcp.model.operation import Failed, Trouble
from codex_control_plane_mcp.store import workers
from tests.desk.reception import Reception, reception
from tests.desk.test_status import running, submitted


async def test_every_folder_directly_below_a_root_is_a_project(at: Reception) -> None:
    (at.project.parent / "bakery").mkdir()
    (at.project.parent / ".cache").mkdir()
    (at.project.parent / "note.txt").touch()
    (at.project / "inner").mkdir()

    found = await at.desk.projects(Projects())

    assert [(one.name, one.allowed) for one in found.projects] == [("bakery", True), ("shop", True)]
    assert found.projects[1].project_id == project_id(at.project)


async def test_projects_worked_in_last_come_first(at: Reception) -> None:
    (at.project.parent / "bakery").mkdir()
    await submitted(at)

    first, second = (await at.desk.projects(Projects())).projects

    assert (first.name, first.last_activity_at) == ("shop", Moment(at.clock.at))
    assert (second.name, second.last_activity_at) == ("bakery", None)


async def test_what_codex_knows_is_listed_and_said_to_be_out_of_reach(
    at: Reception, tmp_path: Path
) -> None:
    at.runtime.known = (str(tmp_path / "elsewhere"), str(at.project))

    found = await at.desk.projects(Projects(with_source=True))

    assert [(one.name, one.allowed, one.source) for one in found.projects] == [
        ("elsewhere", False, "codex"),
        ("shop", True, "root"),
    ]


@pytest.mark.parametrize("shape", ["list", "object", "names"])
async def test_the_registry_names_projects_of_its_own(tmp_path: Path, shape: str) -> None:
    deep = tmp_path / "roots" / "shop" / "deep"
    entries = [{"name": "the deep one", "path": str(deep)}]
    written = {
        "list": entries,
        "object": {"projects": entries},
        "names": {"the deep one": str(deep)},
    }
    registry = tmp_path / "projects.json"
    registry.write_text(json.dumps(written[shape]))
    with reception(tmp_path, projects_registry=registry) as at:
        deep.mkdir()
        found = await at.desk.projects(Projects())

    assert {one.name for one in found.projects} == {"shop", "the deep one"}


async def test_a_registry_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    registry = tmp_path / "projects.json"
    registry.write_text("[")
    with (
        reception(tmp_path, projects_registry=registry) as at,
        pytest.raises(InvalidArgument, match="CODEX_PROJECTS_REGISTRY"),
    ):
        await at.desk.projects(Projects())


async def test_the_list_can_be_narrowed_and_says_how_many_there_are(at: Reception) -> None:
    for number in range(5):
        (at.project.parent / f"p{number}").mkdir()

    found = await at.desk.projects(Projects(limit=2))
    assert (len(found.projects), found.total) == (2, 6)
    below = await at.desk.projects(Projects(below=(str(at.project),)))
    assert [one.name for one in below.projects] == ["shop"]


@pytest.mark.usefixtures("in_a_file")
async def test_an_idle_install_is_healthy(at: Reception) -> None:
    health = await at.desk.health(Scope())

    assert (health.overall_status, health.problems) == ("healthy", ())
    assert health.app_server.status == "not_started"
    assert health.worker is None
    assert health.state_database.bytes
    assert health.disk.writable
    assert (health.hooks.installed, health.hooks.waiting) == (False, 0)
    assert health.next_recommended_action == "none"


async def test_a_disk_that_is_full_is_no_health(
    at: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(at.settings.state_db.parent)
    monkeypatch.setattr(surroundings, "FULL_DISK_BYTES", usage.free + 10**12)

    health = await at.desk.health(Scope())

    assert health.overall_status == "broken"
    assert "full" in health.problems[0].message
    assert health.next_recommended_action == "inspect_diagnostics"


async def test_hooks_that_report_here_are_seen(at: Reception) -> None:
    at.settings.codex_home.mkdir()
    command = "python /x/codex_control_plane_mcp/journal_hook.py --state-db s"
    (at.settings.codex_home / "hooks.json").write_text(json.dumps({"hooks": {"Stop": command}}))
    at.settings.hook_spool.mkdir()
    (at.settings.hook_spool / f"1{COMPLETE}").touch()

    health = await at.desk.health(Scope())

    assert (health.hooks.installed, health.hooks.enabled, health.hooks.waiting) == (True, True, 1)


async def test_notices_that_were_given_up_are_a_problem(at: Reception) -> None:
    operation = await submitted(at)
    statement = text(
        "INSERT INTO notices (seq, id, receiver, host, operation_id, notice, created_at,"
        " attempts, due_at, dead_at) VALUES (1, 'n', 'webhook', '', :operation, '{}', 1, 10, 1, 1)"
    )
    values = {"operation": operation}
    await at.book.write(lambda writing: writing.connection.execute(statement, values))

    seen = await at.desk.health(Scope())

    assert seen.overall_status == "degraded"
    assert "1 notices could not be delivered" in seen.problems[0].message


async def test_health_counts_the_work_at_hand(at: Reception) -> None:
    operation_id = await running(at)
    await at.workshop.ask(operation_id, {"command": "ls"})
    await submitted(at, "another")
    await at.book.write(lambda writing: workers.enter(writing, "w-1", 4711, "0.3.0"))

    health = await at.desk.health(Scope(operation_id=operation_id))

    work = health.active_work
    assert (work.active_turn_count, work.pending_interaction_count, work.pending_requests) == (
        1,
        1,
        1,
    )
    assert health.worker is not None
    assert health.worker.pid == 4711
    assert health.operation is not None
    assert health.operation.next_recommended_action == "answer_pending_interaction"


async def test_without_codex_it_is_broken_and_says_what_to_do(at: Reception) -> None:
    at.runtime.binary = CodexState(problem="no Codex found: install it")
    at.runtime.state = AppServerState(running=False, problem="it does not answer")

    health = await at.desk.health(Scope())

    assert health.overall_status == "broken"
    assert [problem.message for problem in health.problems] == [
        "no Codex found: install it",
        "it does not answer",
    ]
    assert health.app_server.status == "unavailable"


async def test_without_roots_it_advises_to_set_some(tmp_path: Path) -> None:
    with reception(tmp_path, projects_root=None) as at:
        health = await at.desk.health(Scope())

    assert health.overall_status == "healthy"
    assert [problem.severity for problem in health.problems] == ["advice"]


async def test_the_last_errors_are_told(at: Reception) -> None:
    operation_id = await running(at)
    await at.workshop.record(operation_id, Failed(Trouble("usageLimitExceeded", "no more today")))

    (error,) = (await at.desk.health(Scope())).recent_errors

    assert (error.operation_id, error.code) == (operation_id, "usageLimitExceeded")
    assert (await at.desk.health(Scope(max_recent_errors=0))).recent_errors == ()


async def test_a_scope_that_does_not_exist_is_not_found(at: Reception) -> None:
    with pytest.raises(OperationNotFound):
        await at.desk.health(Scope(operation_id=OperationId("op_x")))
    with pytest.raises(ThreadNotFound):
        await at.desk.health(Scope(thread_id=ThreadId("t-x")))
    with pytest.raises(WorkflowNotFound):
        await at.desk.health(Scope(workflow_id=WorkflowId("wf_x")))
