"""Each repair, dry and wet: what a dry run says is what a real one changes; rounds are refused."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.codex.errors import BinaryNotFound
from codex_control_plane_mcp.codex.supervisor import Status as AppServerStatus
from codex_control_plane_mcp.desk.repair import Asked, carry_out, mend
from codex_control_plane_mcp.desk.views_diagnostics import RepairView
from codex_control_plane_mcp.errors import (
    Busy,
    InvalidArgument,
    OperationNotFound,
    WorkflowNotFound,
)
from codex_control_plane_mcp.model.ids import (
    OperationId,
    ProjectId,
    RepairId,
    WorkflowId,
    new_operation_id,
    new_repair_id,
    new_workflow_id,
)
from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.operation import Claimed, Operation, Status
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.repair import (
    MOST_RUNS,
    WITHIN_SECONDS,
    Action,
    Outcome,
    RepairRun,
    RepairScope,
)
from codex_control_plane_mcp.model.request import (
    CollaborationMode,
    DedupPolicy,
    StartChat,
    Submission,
    TurnOptions,
)
from codex_control_plane_mcp.model.workflow import Phase, Terms, Workflow, WorkflowKind, stand
from codex_control_plane_mcp.processes import Identity
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import lookup, operations, repairs, repeats, workflows
from codex_control_plane_mcp.store.book import Reading, Writing
from codex_control_plane_mcp.work.hook_history import HookHistory
from codex_control_plane_mcp.work.mends import Means
from codex_control_plane_mcp.work.repairs import Repairs
from tests.work.house import House, Task, WallClock


@dataclass
class AppServers:
    """The supervisor's part, played over a fake Codex."""

    codex: FakeCodex
    owned: bool = True
    told: list[str] = field(default_factory=list)

    def status(self) -> AppServerStatus:
        server = self.codex.server
        process = Identity(server.identity.pid, server.identity.started_at)
        return AppServerStatus(
            "private",
            server.is_alive,
            process,
            "0.163.0",
            "unix",
            None,
            owned=self.owned,
            binary=None,
            log_file="",
        )

    async def drain(self, patience_seconds: float) -> bool:
        self.told.append("drain")
        self.codex.server.drain()
        return not self.codex.server.is_alive

    async def end_by_force(self, patience_seconds: float) -> bool:
        self.told.append("force")
        self.codex.server.die()
        return True


@dataclass
class Workbench:
    """A house with a worker that also mends."""

    house: House
    means: Means
    app_servers: AppServers
    rebuilt: list[int]

    async def dry(self, action: Action, *, force: bool = False, **scope: str) -> RepairView:
        """Plan it, which changes nothing."""
        before = await self.everything()
        shown = await self.mend(action, dry_run=True, force=force, **scope)
        assert await self.everything() == before, "a dry run has changed something"
        assert not shown.changed
        return shown

    async def wet(self, action: Action, *, force: bool = False, **scope: str) -> RepairView:
        return await self.mend(action, dry_run=False, force=force, **scope)

    async def both(self, action: Action, *, force: bool = False, **scope: str) -> RepairView:
        """Plan it, then do it: what was planned is what is done."""
        planned = await self.dry(action, force=force, **scope)
        assert planned.outcome == "planned", planned
        assert planned.next_recommended_action == "apply_repair"
        done = await self.wet(action, force=force, **scope)
        assert (done.outcome, done.changed) == ("applied", True), done
        assert done.changes == planned.changes
        return done

    async def mend(
        self, action: Action, *, dry_run: bool, force: bool = False, **scope: str
    ) -> RepairView:
        given = RepairScope(**scope)  # type: ignore[arg-type]
        asked = Asked(action=action, by="anna", scope=given, dry_run=dry_run, force=force)
        return await mend(self.house.book, asked)

    async def everything(self) -> list[Operation]:
        return await self.house.book.read(lookup.every)


@pytest.fixture
async def bench(house: House, codex: FakeCodex, tmp_path: Path) -> Workbench:
    rebuilt: list[int] = []

    async def rebuild() -> int:
        rebuilt.append(1)
        return 7

    app_servers = AppServers(codex)
    means = Means(
        book=house.book,
        workshop=house.worker.workshop,
        settings=Settings(
            state_db=tmp_path / "state.sqlite3",
            codex_home=tmp_path / "codex",
            allowed_roots=(Path("/project"),),
            max_sandbox="workspace-write",
        ),
        app_servers=app_servers,
        hooks=HookHistory(house.book, tmp_path / "spool", 1000),
        is_gone=codex.is_gone,
        rebuild_index=rebuild,
        forget_catalogue=lambda: 2,
    )
    house.tasks.start_soon(Repairs(means).run)
    return Workbench(house, means, app_servers, rebuilt)


async def running(bench: Workbench, codex: FakeCodex, number: int = 1) -> Task:
    task = await bench.house.submit(f"Do {number}.")
    await codex.turn(number)
    await task.becomes(Status.RUNNING)
    return task


# --- Where nothing is wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        Action.RECOVER_STALE_OPERATIONS,
        Action.MARK_ORPHANED_AFTER_EXIT,
        Action.EXPIRE_STALE_PENDING_INTERACTIONS,
        Action.CLEANUP_PROMPT_SUBMISSIONS,
    ],
)
async def test_what_is_well_is_left_alone(
    bench: Workbench, codex: FakeCodex, action: Action
) -> None:
    task = await running(bench, codex)
    before = await bench.everything()

    done = await bench.wet(action)

    assert (done.outcome, done.changed, done.changes) == ("nothing_to_do", False, ())
    assert done.next_recommended_action == "none"
    assert await bench.everything() == before
    assert (await task.now()).status is Status.RUNNING
    (await codex.turn()).completes("well")
    await task.ends()


# --- Operations ----------------------------------------------------------------------------------


async def test_what_an_earlier_worker_left_is_taken_up(bench: Workbench, codex: FakeCodex) -> None:
    task = await bench.house.submit()
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    bench.house.worker.workshop.let_go(task.id)  # as if nobody had it
    await anyio.sleep(1)
    assert not bench.house.worker.workshop.drives(task.id)

    done = await bench.both(Action.RECOVER_STALE_OPERATIONS)

    assert [one.name for one in done.changes] == [task.id]
    turn.completes("after all")
    assert (await task.ends()).status is Status.COMPLETED


async def test_what_an_older_generation_claimed_is_taken_up(
    bench: Workbench, codex: FakeCodex
) -> None:
    def claimed_long_ago(writing: Writing) -> OperationId:
        options = TurnOptions(Sandbox.READ_ONLY, ApprovalPolicy.NEVER)
        request = StartChat("Old.", "/project", ProjectId("p"), options)
        made = operations.insert_operation(
            writing, new_operation_id(writing.now), Submission(request)
        )
        generation = bench.means.workshop.generation - 1
        operations.record(writing, made, Claimed(type(bench.means.workshop.generation)(generation)))
        return made.id

    task = Task(await bench.house.book.write(claimed_long_ago), bench.house)

    done = await bench.both(Action.RECOVER_STALE_OPERATIONS)

    assert done.changes[0].name == task.id
    (await codex.turn()).completes("done")
    assert (await task.ends()).status is Status.COMPLETED


async def test_an_operation_whose_app_server_died_is_orphaned_where_nobody_can_be_asked(
    bench: Workbench, codex: FakeCodex
) -> None:
    task = await running(bench, codex)
    codex.trouble = BinaryNotFound("it was uninstalled")
    codex.server.die()
    await anyio.sleep(60)
    assert (await task.now()).status is Status.RUNNING, "nobody knows, so it waits"

    await bench.both(Action.MARK_ORPHANED_AFTER_EXIT, operation_id=task.id)

    ended = await task.ends()
    assert ended.status is Status.UNKNOWN
    assert not bench.house.worker.workshop.active, "nobody drives it any more"


async def test_an_operation_whose_app_server_lives_is_not_orphaned(
    bench: Workbench, codex: FakeCodex
) -> None:
    task = await running(bench, codex)

    planned = await bench.dry(Action.MARK_ORPHANED_AFTER_EXIT, operation_id=task.id)
    assert planned.outcome == "refused"
    assert planned.next_recommended_action == "heed_refusal"
    with pytest.raises(Busy, match="not ended"):
        await bench.wet(Action.MARK_ORPHANED_AFTER_EXIT, operation_id=task.id)
    (await codex.turn()).completes("well")
    assert (await task.ends()).status is Status.COMPLETED


async def test_a_turn_is_interrupted_only_by_force(bench: Workbench, codex: FakeCodex) -> None:
    task = await running(bench, codex)

    refused = await bench.dry(Action.INTERRUPT_TURN, operation_id=task.id)
    assert refused.outcome == "refused"
    assert [one.name for one in refused.changes] == [task.id], "what it would cost is shown"
    with pytest.raises(InvalidArgument, match="force"):
        await bench.wet(Action.INTERRUPT_TURN, operation_id=task.id)
    await bench.both(Action.INTERRUPT_TURN, operation_id=task.id, force=True)

    assert (await task.ends()).status is Status.INTERRUPTED


async def test_a_plan_that_was_read_is_carried_out_or_nothing_is(
    bench: Workbench, codex: FakeCodex
) -> None:
    first = await running(bench, codex)
    book = bench.house.book
    read = await bench.dry(Action.INTERRUPT_TURN, force=True, operation_id=first.id)
    other = await bench.dry(Action.RESTART_APP_SERVER_IDLE)
    assert other.outcome == "refused"
    with pytest.raises(InvalidArgument, match="planned"):
        await carry_out(book, RepairId(other.repair_run_id), "anna")

    (await codex.turn()).asks_to_run("rm -rf build")
    await first.becomes(Status.WAITING_FOR_APPROVAL)
    with pytest.raises(Busy, match="look at it again"):
        await carry_out(book, RepairId(read.repair_run_id), "anna")
    assert (await first.now()).status is Status.WAITING_FOR_APPROVAL

    anew = await bench.dry(Action.INTERRUPT_TURN, force=True, operation_id=first.id)
    done = await carry_out(book, RepairId(anew.repair_run_id), "anna")
    assert (done.outcome, done.changes) == ("applied", anew.changes)
    assert (await first.ends()).status is Status.INTERRUPTED


# --- Questions and prompts -----------------------------------------------------------------------


async def test_a_question_of_a_dead_app_server_expires(bench: Workbench, codex: FakeCodex) -> None:
    task = await bench.house.submit()
    (await codex.turn()).asks_to_run("rm -rf build")
    question = await task.asked()
    assert (await bench.dry(Action.EXPIRE_STALE_PENDING_INTERACTIONS)).changes == ()
    codex.trouble = BinaryNotFound("it was uninstalled")
    codex.server.die()
    await anyio.sleep(1)

    done = await bench.both(Action.EXPIRE_STALE_PENDING_INTERACTIONS)

    assert [one.name for one in done.changes] == [question.id]
    assert (await task.question(question)).status is InteractionStatus.EXPIRED
    codex.trouble = None
    assert (await task.ends()).status is Status.INTERRUPTED


async def test_prompts_are_forgotten_a_day_after_their_end(
    bench: Workbench, codex: FakeCodex
) -> None:
    task = await running(bench, codex)
    await bench.house.book.write(lambda writing: repeats.remember(writing, "hash", task.id))
    (await codex.turn()).completes("done")
    await task.ends()
    assert (await bench.dry(Action.CLEANUP_PROMPT_SUBMISSIONS)).outcome == "nothing_to_do"
    await anyio.sleep(25 * 3600)

    done = await bench.both(Action.CLEANUP_PROMPT_SUBMISSIONS)

    assert [one.name for one in done.changes] == [task.id]
    left = await bench.house.book.write(lambda writing: repeats.newest_of(writing, "hash"))
    assert left is None


# --- Workflows -----------------------------------------------------------------------------------


async def planning(
    bench: Workbench, sandbox: Sandbox = Sandbox.READ_ONLY, cwd: str = "/project"
) -> tuple[WorkflowId, Task]:
    """A workflow whose plan is being made."""
    options = TurnOptions(
        sandbox, ApprovalPolicy.ON_REQUEST, collaboration_mode=CollaborationMode.PLAN
    )
    request = StartChat("Plan it.", cwd, ProjectId("p"), options)

    def begin(writing: Writing) -> tuple[WorkflowId, OperationId]:
        workflow_id = new_workflow_id(writing.now)
        submission = Submission(
            request, dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY, workflow_id=workflow_id
        )
        made = operations.insert_operation(writing, new_operation_id(writing.now), submission)
        workflow = Workflow(
            id=workflow_id,
            kind=WorkflowKind.PLAN_THEN_EXECUTE,
            client_request_id=None,
            project_id=ProjectId("p"),
            cwd=cwd,
            title=None,
            terms=Terms(options),
            created_at=writing.now,
            updated_at=writing.now,
            operation_ids=(made.id,),
        )
        workflows.insert_workflow(writing, workflow, "hash")
        return workflow_id, made.id

    workflow_id, operation_id = await bench.house.book.write(begin)
    return workflow_id, Task(operation_id, bench.house)


async def phase(bench: Workbench, workflow_id: WorkflowId) -> tuple[Phase, list[Operation]]:
    def look(reading: Reading) -> tuple[Phase, list[Operation]]:
        workflow = workflows.get(reading, workflow_id)
        assert workflow is not None
        ours = workflows.operations_of(reading, workflow)
        return stand(workflow, ours).phase, ours

    return await bench.house.book.read(look)


async def test_a_failed_step_is_tried_again_within_what_is_allowed_now(
    bench: Workbench, codex: FakeCodex
) -> None:
    workflow_id, task = await planning(bench, Sandbox.DANGER_FULL_ACCESS)
    (await codex.turn()).fails("usageLimitExceeded", "later")
    await task.ends()

    done = await bench.both(Action.RETRY_WORKFLOW_WITH_RUNTIME_POLICY, workflow_id=workflow_id)

    assert "sandbox workspace-write" in done.changes[0].change
    now, ours = await phase(bench, workflow_id)
    assert now is Phase.PLANNING
    assert ours[0].id == task.id
    (await codex.turn(2)).completes("no plan, a question")
    await Task(ours[-1].id, bench.house).ends()
    assert (await phase(bench, workflow_id))[0] is Phase.PLAN_NEEDS_REVIEW
    nothing = await bench.wet(Action.RETRY_WORKFLOW_WITH_RUNTIME_POLICY, workflow_id=workflow_id)
    assert nothing.outcome == "nothing_to_do"


async def test_nothing_is_tried_again_in_a_folder_that_is_not_allowed_any_more(
    bench: Workbench, codex: FakeCodex
) -> None:
    workflow_id, task = await planning(bench, cwd="/elsewhere")
    (await codex.turn()).fails("usageLimitExceeded", "later")
    await task.ends()

    with pytest.raises(Busy, match="allowed roots"):
        await bench.wet(Action.RETRY_WORKFLOW_WITH_RUNTIME_POLICY, workflow_id=workflow_id)


async def test_an_end_that_nobody_told_us_of_is_read_from_the_thread(
    bench: Workbench, codex: FakeCodex
) -> None:
    workflow_id, task = await planning(bench)
    turn = await codex.turn()
    await task.becomes(Status.RUNNING)
    same = await bench.wet(Action.RECONCILE_WORKFLOW_FROM_THREAD, workflow_id=workflow_id)
    assert same.outcome == "nothing_to_do"
    turn.says("A question?")
    turn.status = "completed"  # and not a word of it

    done = await bench.both(Action.RECONCILE_WORKFLOW_FROM_THREAD, workflow_id=workflow_id)

    assert done.changes[0].change == "running → completed"
    assert (await task.ends()).status is Status.COMPLETED
    assert (await phase(bench, workflow_id))[0] is Phase.PLAN_NEEDS_REVIEW


# --- The app-server ------------------------------------------------------------------------------


async def test_an_idle_app_server_is_drained_and_another_one_started(
    bench: Workbench, codex: FakeCodex
) -> None:
    task = await running(bench, codex)
    (await codex.turn()).completes("done")
    await task.ends()
    first = codex.server

    await bench.both(Action.RESTART_APP_SERVER_IDLE)

    assert bench.app_servers.told == ["drain"]
    assert not first.is_alive
    assert codex.server is not first


async def test_a_busy_app_server_is_left_alone_and_what_force_costs_is_said(
    bench: Workbench, codex: FakeCodex
) -> None:
    task = await running(bench, codex)

    planned = await bench.dry(Action.RESTART_APP_SERVER_IDLE)
    assert planned.outcome == "refused"
    assert planned.result is not None
    assert "1 turn of it would be cut off" in planned.result
    with pytest.raises(Busy, match="busy"):
        await bench.wet(Action.RESTART_APP_SERVER_IDLE)
    assert bench.app_servers.told == []
    with pytest.raises(InvalidArgument, match="force"):
        await bench.wet(Action.FORCE_RESTART_APP_SERVER)
    await bench.both(Action.FORCE_RESTART_APP_SERVER, force=True)

    assert bench.app_servers.told == ["force"]
    assert (await task.ends()).status is Status.INTERRUPTED


async def test_codexs_shared_app_server_is_never_ended(bench: Workbench, codex: FakeCodex) -> None:
    bench.app_servers.owned = False

    with pytest.raises(Busy, match="shared"):
        await bench.wet(Action.FORCE_RESTART_APP_SERVER, force=True)
    assert codex.server.is_alive


async def test_where_no_app_server_runs_none_is_started(bench: Workbench, codex: FakeCodex) -> None:
    codex.server.die()

    done = await bench.wet(Action.RESTART_APP_SERVER_IDLE)

    assert done.outcome == "nothing_to_do"
    assert codex.dialled == 0


# --- Caches and files ----------------------------------------------------------------------------


async def test_the_search_index_is_made_anew(bench: Workbench) -> None:
    done = await bench.both(Action.REBUILD_SEARCH_INDEX)

    assert done.result == "7 texts are in it"
    assert bench.rebuilt == [1]


async def test_what_codex_offers_and_what_hooks_told_is_looked_at_anew(bench: Workbench) -> None:
    done = await bench.both(Action.REFRESH_CATALOG_AND_HISTORY)

    assert done.result == "2 answers of Codex were forgotten, 0 events taken in"


@pytest.mark.skipif(os.name != "posix", reason="no such modes there")
@pytest.mark.usefixtures("in_a_file")
async def test_files_that_others_can_read_are_closed_to_them(bench: Workbench) -> None:
    state_db = bench.means.settings.state_db
    state_db.chmod(0o644)

    done = await bench.both(Action.VALIDATE_PATHS_AND_CONFIG)

    assert [one.change for one in done.changes] == ["mode 644 → 600"]
    assert state_db.stat().st_mode & 0o777 == 0o600
    again = await bench.wet(Action.VALIDATE_PATHS_AND_CONFIG)
    assert again.outcome == "nothing_to_do"
    assert again.result == "/project is no folder (roots)", "what only a person can correct"


# --- Rounds, cut-off runs, and what is asked -----------------------------------------------------


async def test_the_same_repair_over_and_over_is_refused_until_time_has_passed(
    bench: Workbench,
) -> None:
    for _ in range(MOST_RUNS):
        await bench.wet(Action.REBUILD_SEARCH_INDEX)

    planned = await bench.dry(Action.REBUILD_SEARCH_INDEX)
    assert planned.outcome == "refused"
    with pytest.raises(Busy, match="did not help") as refused:
        await bench.wet(Action.REBUILD_SEARCH_INDEX)
    assert refused.value.retryable
    assert str(refused.value.details["repairRunId"]).startswith("rp_")
    assert len(bench.rebuilt) == MOST_RUNS
    assert (await bench.wet(Action.REFRESH_CATALOG_AND_HISTORY)).changed, "others are not touched"
    await anyio.sleep(WITHIN_SECONDS)
    assert (await bench.wet(Action.REBUILD_SEARCH_INDEX)).changed


async def test_a_run_that_a_worker_did_not_end_is_never_repeated(
    empty_house: House, codex: FakeCodex, clock: WallClock, tmp_path: Path
) -> None:
    def cut_off(writing: Writing) -> RepairRun:
        run = RepairRun(
            id=new_repair_id(writing.now),
            action=Action.REBUILD_SEARCH_INDEX,
            scope=RepairScope(),
            dry_run=False,
            force=False,
            made_by="anna",
            created_at=writing.now,
        )
        repairs.wish_repair(writing, run)
        return run

    run = await empty_house.book.write(cut_off)
    await empty_house.hire()

    async def must_not() -> int:
        raise AssertionError("it was done once more")

    means = Means(
        book=empty_house.book,
        workshop=empty_house.worker.workshop,
        settings=Settings(state_db=tmp_path / "s", codex_home=tmp_path),
        app_servers=AppServers(codex),
        hooks=HookHistory(empty_house.book, tmp_path / "spool", 1000),
        is_gone=codex.is_gone,
        rebuild_index=must_not,
        forget_catalogue=lambda: 0,
    )
    empty_house.tasks.start_soon(Repairs(means).run)
    await anyio.sleep(1)

    after = await empty_house.book.read(lambda reading: repairs.get(reading, run.id))
    assert after is not None
    assert after.outcome is Outcome.UNKNOWN


async def test_a_repair_that_goes_wrong_says_so_and_the_next_one_is_done(
    bench: Workbench, tmp_path: Path
) -> None:
    (tmp_path / "spool").touch()  # a file where a folder should be
    failed = await bench.wet(Action.REFRESH_CATALOG_AND_HISTORY)
    assert failed.outcome == "failed"
    assert failed.next_recommended_action == "inspect_diagnostics"
    assert (await bench.wet(Action.REBUILD_SEARCH_INDEX)).changed


async def test_a_repair_that_cannot_be_meant_is_refused_before_it_is_stored(
    bench: Workbench,
) -> None:
    with pytest.raises(InvalidArgument, match="workflow_id"):
        await bench.dry(Action.RECONCILE_WORKFLOW_FROM_THREAD)
    with pytest.raises(InvalidArgument, match="operation_id"):
        await bench.dry(Action.INTERRUPT_TURN)
    with pytest.raises(OperationNotFound):
        await bench.dry(Action.INTERRUPT_TURN, operation_id="op_x")
    with pytest.raises(WorkflowNotFound):
        await bench.dry(Action.RETRY_WORKFLOW_WITH_RUNTIME_POLICY, workflow_id="wf_x")
    assert await bench.house.book.read(lambda reading: repairs.newest(reading, 10)) == []
