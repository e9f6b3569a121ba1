"""The desk's methods for workflows: one for each thing a door may want of them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from codex_control_plane_mcp.clock import Clock
from codex_control_plane_mcp.desk.placing import placement
from codex_control_plane_mcp.desk.projects import Place
from codex_control_plane_mcp.desk.runtime import RuntimeView
from codex_control_plane_mcp.desk.submit import Accepted, Task
from codex_control_plane_mcp.desk.wait import Shown, attention_of_workflow
from codex_control_plane_mcp.desk.workflows.deciding import Adopt, Approve, adopt, approve, check
from codex_control_plane_mcp.desk.workflows.revising import check_more, say_more
from codex_control_plane_mcp.desk.workflows.standing import found, present
from codex_control_plane_mcp.desk.workflows.starting import (
    Draft,
    StartPlan,
    StartReview,
    begin,
    draft_plan,
    draft_review,
)
from codex_control_plane_mcp.desk.workflows.status import Live, Look, look, next_action, view
from codex_control_plane_mcp.desk.workflows.views import (
    AdoptionReceipt,
    ApprovalReceipt,
    WorkflowView,
)
from codex_control_plane_mcp.model.ids import WorkflowId
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.model.workflow import Step
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store.book import Book, Reading, Writing


class Workflows:
    """Reception for workflows."""

    def __init__(
        self,
        book: Book,
        settings: Settings,
        clock: Clock,
        runtime: RuntimeView,
        limits: Limits,
        place: Callable[[Task], Awaitable[Place]],
        off_loop: Callable[[Callable[[], None]], Awaitable[None]],
        shown: Shown,
    ) -> None:
        self._book = book
        self._settings = settings
        self._clock = clock
        self._runtime = runtime
        self._limits = limits
        self._place = place
        self._off_loop = off_loop
        self._shown = shown

    async def start_plan(self, wanted: StartPlan) -> WorkflowView:
        """Have a plan made; when this returns, the wish is on the disk."""
        place = await self._named(wanted)
        return await self._begin(draft_plan(wanted, place, self._settings), wanted)

    async def start_review(self, wanted: StartReview) -> WorkflowView:
        """Have code reviewed; when this returns, the wish is on the disk."""
        place = await self._named(wanted, wanted.thread_id)
        return await self._begin(draft_review(wanted, place, self._settings), wanted)

    async def status(self, wanted: Look, wait_seconds: float = 0, by: str = "") -> WorkflowView:
        """How a workflow stands, now or once it has ended or wants somebody's word that this caller
        has not been shown."""
        if wait_seconds > 0:
            known = self._shown.to(by)
            id_ = wanted.workflow_id
            calls = await attention_of_workflow(self._book, id_, wait_seconds, known)
            self._shown.told(by, calls)
        live = await self._live(wanted.workflow_id, with_goal=wanted.refresh_live_goal)
        now = self._clock.now()
        shown = await self._book.read(
            lambda reading: look(reading, wanted, live, self._limits, now)
        )
        self._shown.note(by, shown.pending_interactions)
        return shown

    async def approve(self, wanted: Approve) -> ApprovalReceipt:
        """Have its plan carried out."""
        await self._off_loop(lambda: check(wanted))
        live = await self._live(wanted.workflow_id)
        await self._still_allowed(wanted.workflow_id)

        def store(writing: Writing) -> ApprovalReceipt:
            done = approve(writing, wanted, self._settings, live.plans)
            at = present(writing.connection, done.workflow)
            return ApprovalReceipt(
                workflow_id=done.workflow.id,
                phase=at.phase,
                plan_hash=done.approval.plan_hash,
                execution_operation_id=done.approval.operation_id,
                thread_id=at.thread_id,
                approved_by=done.approval.by,
                idempotent=done.idempotent,
                next_recommended_action=next_action(at, is_asked=False),
            )

        return await self._book.write(store)

    async def adopt(self, wanted: Adopt) -> AdoptionReceipt:
        """Take a plan of its thread as its own."""
        live = await self._live(wanted.workflow_id)

        def store(writing: Writing) -> AdoptionReceipt:
            done = adopt(writing, wanted, live.plans)
            at = present(writing.connection, done.workflow, live.plans)
            return AdoptionReceipt(
                workflow_id=done.workflow.id,
                phase=at.phase,
                plan_hash=done.adoption.proposal.hash,
                turn_id=done.adoption.proposal.turn_id,
                idempotent=done.idempotent,
                next_recommended_action=next_action(at, is_asked=False),
            )

        return await self._book.write(store)

    async def more(self, task: Task, workflow_id: WorkflowId) -> Callable[[Writing], Accepted]:
        """What takes more words to a workflow in, once they are checked."""
        check_more(task)
        await self._still_allowed(workflow_id)
        return lambda writing: say_more(writing, task, workflow_id)

    # --- Particulars -----------------------------------------------------------------------------

    async def _begin(self, draft: Draft, wanted: StartPlan | StartReview) -> WorkflowView:
        def store(writing: Writing) -> WorkflowView:
            host = placement(writing.connection, self._settings, wanted.host, wanted.host_labels)
            begun = begin(writing, replace(draft, placement=host))
            return view(
                writing.connection,
                begun.workflow,
                Look(workflow_id=begun.workflow.id),
                Live(),
                self._limits,
                writing.now,
                idempotent=begun.idempotent,
            )

        return await self._book.write(store)

    async def _live(self, workflow_id: WorkflowId, *, with_goal: bool = False) -> Live:
        """What Codex says of its thread; little while it is at work, nothing where none runs."""
        at = await self._book.read(lambda reading: present(reading, found(reading, workflow_id)))
        if at.thread_id is None:
            return Live()
        undecided = at.step is Step.PLAN and at.operation.is_final
        return Live(
            await self._runtime.plans_in(at.thread_id) if undecided else (),
            await self._runtime.goal_of(at.thread_id) if with_goal else None,
        )

    async def _named(self, wanted: StartPlan | StartReview, thread_id: str | None = None) -> Place:
        return await self._place(
            Task(
                operation_type=OperationType.START_CHAT,
                message="",
                project=wanted.project,
                cwd=wanted.cwd,
                thread_id=thread_id,
            )
        )

    async def _still_allowed(self, workflow_id: WorkflowId) -> None:
        """The roots may have been narrowed since it was started. Raises InvalidArgument."""

        def newest(reading: Reading) -> Operation:
            return present(reading, found(reading, workflow_id)).newest

        one = await self._book.read(newest)
        if one.host in (None, self._book.host):  # another host has allowed it by its own roots
            await self._place(
                Task(operation_type=OperationType.START_CHAT, message="", cwd=one.folder)
            )
