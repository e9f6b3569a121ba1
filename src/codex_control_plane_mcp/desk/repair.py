"""Takes in what somebody wants mended, and waits for what comes of it."""

from dataclasses import asdict, dataclass, field
from typing import Final

import anyio

from codex_control_plane_mcp.desk.status import found
from codex_control_plane_mcp.desk.views_diagnostics import ChangeView, RepairSheet, RepairView
from codex_control_plane_mcp.desk.wait import ANSWER_SECONDS
from codex_control_plane_mcp.desk.workflows.standing import found as workflow_found
from codex_control_plane_mcp.errors import Busy, ControlPlaneError, InvalidArgument, NotFound
from codex_control_plane_mcp.model.ids import RepairId, new_repair_id
from codex_control_plane_mcp.model.repair import NEED_FORCE, Action, Outcome, RepairRun, RepairScope
from codex_control_plane_mcp.store import repairs
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Book, Reading, Writing

#: More changes are counted.
CHANGES_SHOWN: Final = 30

_OF_WORKFLOW: Final = frozenset(
    {Action.RECONCILE_WORKFLOW_FROM_THREAD, Action.RETRY_WORKFLOW_WITH_RUNTIME_POLICY}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A repair as somebody asks for it."""

    action: Action
    by: str
    scope: RepairScope = field(default_factory=RepairScope)
    dry_run: bool = True
    force: bool = False
    #: The dry run that was read.
    plan_id: RepairId | None = None


async def mend(book: Book, asked: Asked) -> RepairView:
    """Have it done, or planned, and say what came of it.

    Raises InvalidArgument or a NotFound for a scope that cannot be meant, and Busy where it must
    not be done now.
    """
    _check(asked)
    with book.bell.listening(about=Subject.REPAIR) as change:
        id_ = await book.write(lambda writing: _enter(writing, asked))
        run = await _run(book, id_)
        with anyio.move_on_after(ANSWER_SECONDS):
            while run.done_at is None:
                await change.wait()
                run = await _run(book, id_)
    if run.outcome is Outcome.REFUSED and not run.dry_run:
        raise _refusal(run)
    return shown(run)


async def carry_out(book: Book, plan_id: RepairId, by: str) -> RepairView:
    """Have done what a dry run said, or nothing where it would not be just that any more.

    Raises NotFound, InvalidArgument for a run that planned nothing, and Busy.
    """
    plan = await _found(book, plan_id)
    if not _can_be_carried_out(plan):
        raise InvalidArgument("only what a dry run has planned can be carried out")
    return await mend(
        book,
        Asked(
            action=plan.action,
            by=by,
            scope=plan.scope,
            dry_run=False,
            force=plan.force,
            plan_id=plan.id,
        ),
    )


async def sheet(book: Book, repair_id: RepairId) -> RepairSheet:
    """One run, as people look at it. Raises NotFound."""
    run = await _found(book, repair_id)
    return RepairSheet(
        view=shown(run),
        scope={name: id_ for name, id_ in asdict(run.scope).items() if id_ is not None},
        force=run.force,
        made_by=run.made_by,
        created_at=run.created_at,
        can_be_carried_out=_can_be_carried_out(run),
    )


def _can_be_carried_out(run: RepairRun) -> bool:
    return run.dry_run and run.outcome is Outcome.PLANNED


async def _found(book: Book, repair_id: RepairId) -> RepairRun:
    run = await book.read(lambda reading: repairs.get(reading, repair_id))
    if run is None:
        raise NotFound(f"there is no repair {repair_id}")
    return run


def _refusal(run: RepairRun) -> ControlPlaneError:
    why = f"{run.action} was not done: {run.result}"
    if run.action in NEED_FORCE and not run.force:
        return InvalidArgument(why, field="force", repairRunId=run.id)
    return Busy(why, action=run.action, repairRunId=run.id)


def _check(asked: Asked) -> None:
    scope = asked.scope
    if asked.action in _OF_WORKFLOW and scope.workflow_id is None:
        raise InvalidArgument(f"{asked.action} needs a workflow_id", field="workflow_id")
    if asked.action is Action.INTERRUPT_TURN and scope == RepairScope():
        raise InvalidArgument(
            f"{asked.action} needs an operation_id, a workflow_id or a thread_id",
            field="operation_id",
        )


def _enter(writing: Writing, asked: Asked) -> RepairId:
    if asked.scope.operation_id is not None:
        found(writing.connection, asked.scope.operation_id)
    if asked.scope.workflow_id is not None:
        workflow_found(writing.connection, asked.scope.workflow_id)
    run = RepairRun(
        id=new_repair_id(writing.now),
        action=asked.action,
        scope=asked.scope,
        dry_run=asked.dry_run,
        force=asked.force,
        made_by=asked.by,
        created_at=writing.now,
        plan_id=asked.plan_id,
    )
    repairs.wish_repair(writing, run)
    return run.id


async def _run(book: Book, id_: RepairId) -> RepairRun:
    def look(reading: Reading) -> RepairRun:
        run = repairs.get(reading, id_)
        assert run is not None  # noqa: S101  # it was written a moment ago, and none is removed
        return run

    return await book.read(look)


def shown(run: RepairRun) -> RepairView:
    changes = tuple(
        ChangeView(one.kind, one.name, one.change) for one in run.changes[:CHANGES_SHOWN]
    )
    return RepairView(
        repair_run_id=run.id,
        action=run.action,
        dry_run=run.dry_run,
        outcome="running" if run.outcome is None else run.outcome.value,
        changed=run.outcome is Outcome.APPLIED,
        changes=changes,
        change_count=len(run.changes),
        result=run.result,
        next_recommended_action=_NEXT[run.outcome],
    )


_NEXT: Final = {
    None: "check_again",
    Outcome.PLANNED: "apply_repair",
    Outcome.APPLIED: "check_again",
    Outcome.NOTHING_TO_DO: "none",
    Outcome.REFUSED: "heed_refusal",
    Outcome.FAILED: "inspect_diagnostics",
    Outcome.UNKNOWN: "check_again",
}
