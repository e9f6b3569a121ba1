"""Plans: read, sent back with a comment, approved by their hash."""

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.interrupt import Whole
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.workflows.deciding import Adopt, Approve
from codex_control_plane_mcp.desk.workflows.status import Look
from codex_control_plane_mcp.desk.workflows.views import PlanView, WorkflowView
from codex_control_plane_mcp.doors.web.guard import caller
from codex_control_plane_mcp.doors.web.site import Form, Said, Site, one
from codex_control_plane_mcp.model.ids import TurnId, WorkflowId
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.model.workflow import ENDED, UNDECIDED, WANTS_SOMEBODY


def routes(site: Site) -> list[Route]:
    desk = site.desk

    async def plans(request: Request) -> Response:
        page = await desk.overview.workflows(request.query_params.get("cursor"))
        return await site.page(request, "plans.html", page=page, undecided=UNDECIDED)

    async def plan(request: Request) -> Response:
        shown = await _whole(desk, WorkflowId(request.path_params["id"]))
        operation_id = (
            shown.execution_operation_id or shown.review_operation_id or shown.plan_operation_id
        )
        asked = (await desk.overview.inbox()).questions if shown.pending_interactions else ()
        ours = {one.interaction_id for one in shown.pending_interactions}
        return await site.page(
            request,
            "plan.html",
            flow=shown,
            operation_id=operation_id,
            questions=[one for one in asked if one.interaction.interaction_id in ours],
            can_decide=shown.phase in UNDECIDED,
            has_ended=shown.phase in ENDED,
            wants_somebody=shown.phase in WANTS_SOMEBODY,
        )

    async def approve(request: Request, form: Form) -> Said:
        id_ = WorkflowId(request.path_params["id"])
        wanted = Approve(
            workflow_id=id_,
            by=caller(request),
            plan_hash=one(form, "plan_hash"),
            message=one(form, "message").strip() or None,
        )
        done = await desk.workflows.approve(wanted)
        if done.idempotent:
            return Said(f"It was approved before by {done.approved_by}.", f"plans/{id_}")
        return Said("Approved. Codex carries exactly this plan out.", f"plans/{id_}")

    async def revise(request: Request, form: Form) -> Said:
        id_ = WorkflowId(request.path_params["id"])
        task = Task(
            operation_type=OperationType.SEND_MESSAGE,
            message=one(form, "message"),
            workflow_id=id_,
        )
        await desk.submit(task)
        return Said("Codex makes the plan anew.", f"plans/{id_}")

    async def adopt(request: Request, form: Form) -> Said:
        id_ = WorkflowId(request.path_params["id"])
        wanted = Adopt(
            workflow_id=id_,
            by=caller(request),
            turn_id=TurnId(one(form, "turn_id")),
            plan_hash=one(form, "plan_hash"),
        )
        await desk.workflows.adopt(wanted)
        return Said("It is the plan under review now.", f"plans/{id_}")

    async def interrupt(request: Request, _form: Form) -> Said:
        id_ = WorkflowId(request.path_params["id"])
        await desk.interrupt(Whole(id_), caller(request))
        return Said("Whatever of it ran is ended.", f"plans/{id_}")

    return [
        Route("/plans", site.reads(plans)),
        Route("/plans/{id}", site.reads(plan)),
        Route("/plans/{id}/approve", site.writes(approve), methods=["POST"]),
        Route("/plans/{id}/revise", site.writes(revise), methods=["POST"]),
        Route("/plans/{id}/adopt", site.writes(adopt), methods=["POST"]),
        Route("/plans/{id}/interrupt", site.writes(interrupt), methods=["POST"]),
    ]


async def _whole(desk: Desk, id_: WorkflowId) -> WorkflowView:
    """A workflow with its plan and its report in one piece: nobody decides on half a plan."""
    shown = await desk.workflows.status(Look(workflow_id=id_, last_messages=1))
    plan = shown.candidate_plan or shown.latest_plan
    while plan is not None and plan.next_offset is not None:
        look = Look(workflow_id=id_, plan_offset=plan.next_offset)
        later = await desk.workflows.status(look)
        following = later.candidate_plan or later.latest_plan
        if following is None or following.plan_hash != plan.plan_hash:
            return await _whole(desk, id_)  # It was made anew meanwhile.
        plan = _joined(plan, following)
    if shown.candidate_plan is not None:
        return replace(shown, candidate_plan=plan)
    return replace(shown, latest_plan=plan)


def _joined(before: PlanView, after: PlanView) -> PlanView:
    return replace(before, markdown=before.markdown + after.markdown, next_offset=after.next_offset)
