"""Health: whether everything is in order, what is wrong and why, and what mends it."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codex_control_plane_mcp.desk.diagnosis.facts import Scope
from codex_control_plane_mcp.desk.health import Scope as HealthScope
from codex_control_plane_mcp.desk.queue import QueueLook, WorkerLook
from codex_control_plane_mcp.desk.repair import Asked
from codex_control_plane_mcp.doors.web.guard import caller
from codex_control_plane_mcp.doors.web.site import Form, Said, Site, one
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import (
    OperationId,
    RepairId,
    ThreadId,
    TurnId,
    WorkflowId,
)
from codex_control_plane_mcp.model.repair import Action, RepairScope

ERRORS_SHOWN = 10
WORKERS_SHOWN = 8


def routes(site: Site) -> list[Route]:
    desk = site.desk

    async def health(request: Request) -> Response:
        return await site.page(
            request,
            "health.html",
            health=await desk.health(HealthScope(max_recent_errors=ERRORS_SHOWN)),
            analysis=await desk.analyze(Scope()),
            queue=await desk.queue_status(QueueLook(limit=1)),
            workers=(await desk.worker_status(WorkerLook(limit=WORKERS_SHOWN))).workers,
        )

    async def diagnosis(request: Request) -> Response:
        """Of one operation."""
        operation_id = OperationId(request.path_params["id"])
        sheet = await desk.overview.sheet(operation_id)
        analysis = await desk.analyze(Scope(operation_id=operation_id))
        return await site.page(request, "diagnosis.html", card=sheet.card, analysis=analysis)

    async def repair(request: Request) -> Response:
        sheet = await desk.repair_sheet(RepairId(request.path_params["id"]))
        return await site.page(request, "repair.html", sheet=sheet)

    async def plan(request: Request, form: Form) -> Said:
        """A dry run: what a repair would change."""
        asked = Asked(
            action=_action(one(form, "action")),
            by=caller(request),
            scope=_scope(form),
            force=one(form, "force") == "yes",
        )
        planned = await desk.repair(asked)
        return Said("Nothing is changed yet.", f"health/repairs/{planned.repair_run_id}")

    async def carry_out(request: Request, _form: Form) -> Said:
        id_ = RepairId(request.path_params["id"])
        done = await desk.carry_out_repair(id_, caller(request))
        return Said(
            done.result or "It is being done.",
            f"health/repairs/{done.repair_run_id}",
        )

    return [
        Route("/health", site.reads(health)),
        Route("/health/repairs", site.writes(plan), methods=["POST"]),
        Route("/health/repairs/{id}", site.reads(repair)),
        Route("/health/repairs/{id}/carry-out", site.writes(carry_out), methods=["POST"]),
        Route("/tasks/{id}/diagnosis", site.reads(diagnosis)),
    ]


def _action(named: str) -> Action:
    try:
        return Action(named)
    except ValueError as error:
        raise InvalidArgument("there is no such repair", field="action") from error


def _scope(form: Form) -> RepairScope:
    return RepairScope(
        operation_id=OperationId(one(form, "operation_id")) or None,
        workflow_id=WorkflowId(one(form, "workflow_id")) or None,
        thread_id=ThreadId(one(form, "thread_id")) or None,
        turn_id=TurnId(one(form, "turn_id")) or None,
    )
