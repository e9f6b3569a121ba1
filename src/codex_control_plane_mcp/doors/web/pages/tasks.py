"""Tasks: the list of all of them, and one from its submission to its report."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from codex_control_plane_mcp.desk.overview import STATES, Listing
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.doors.web.guard import caller
from codex_control_plane_mcp.doors.web.site import Form, Said, Site, one
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import WITH_TURN
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import OperationType

#: So many lines of a timeline are on the page at first.
LINES = 300


def routes(site: Site) -> list[Route]:
    desk = site.desk

    async def tasks(request: Request) -> Response:
        query = request.query_params
        wanted = Listing(
            state=query.get("state", "all"),
            project_id=query.get("project") or None,
            cursor=query.get("cursor"),
        )
        page = await desk.overview.operations(wanted)
        if query.get("part"):
            return HTMLResponse(site.render("task_rows.html", page=page, wanted=wanted))
        return await site.page(request, "tasks.html", page=page, wanted=wanted, states=STATES)

    async def task(request: Request) -> Response:
        operation_id = OperationId(request.path_params["id"])
        sheet = await desk.overview.sheet(operation_id)
        is_whole = "whole" in request.query_params
        first = 0 if is_whole else max(0, sheet.view.latest_seq - LINES)
        timeline = await desk.overview.timeline(operation_id, first, sheet.view.latest_seq + 1)
        return await site.page(
            request, "task.html", sheet=sheet, timeline=timeline, skipped=first, with_turn=WITH_TURN
        )

    async def steer(request: Request, form: Form) -> Said:
        sheet = await desk.overview.sheet(OperationId(request.path_params["id"]))
        await desk.submit(
            Task(
                operation_type=OperationType.STEER_TURN,
                message=one(form, "message"),
                thread_id=sheet.view.thread_id,
                expected_turn_id=sheet.view.turn_id,
            )
        )
        return Said("Codex is told.", f"tasks/{sheet.view.operation_id}")

    async def interrupt(request: Request, _form: Form) -> Said:
        id_ = OperationId(request.path_params["id"])
        done = await desk.interrupt(id_, caller(request))
        if not done.changed:
            return Said("It had ended before.", f"tasks/{id_}")
        ended = "It has ended." if done.ended else "It is being ended."
        return Said(ended, f"tasks/{id_}")

    async def more(request: Request, form: Form) -> Said:
        """Go on in the thread, or in a copy of it."""
        sheet = await desk.overview.sheet(OperationId(request.path_params["id"]))
        forks = one(form, "how") == "fork"
        thread_id = sheet.view.thread_id
        receipt = await desk.submit(
            Task(
                operation_type=(OperationType.FORK_THREAD if forks else OperationType.SEND_MESSAGE),
                message=one(form, "message"),
                thread_id=None if forks else thread_id,
                source_thread_id=thread_id if forks else None,
                sandbox=_sandbox(one(form, "sandbox")),
            )
        )
        return Said("It is in the queue.", f"tasks/{receipt.operation_id}")

    return [
        Route("/tasks", site.reads(tasks)),
        Route("/tasks/{id}", site.reads(task)),
        Route("/tasks/{id}/steer", site.writes(steer), methods=["POST"]),
        Route("/tasks/{id}/interrupt", site.writes(interrupt), methods=["POST"]),
        Route("/tasks/{id}/more", site.writes(more), methods=["POST"]),
    ]


def _sandbox(named: str) -> Sandbox | None:
    try:
        return Sandbox(named) if named else None
    except ValueError as error:
        raise InvalidArgument("there is no such sandbox", field="sandbox") from error
