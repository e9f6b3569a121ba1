"""Health: whether everything is in order, and what runs for this state."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codex_control_plane_mcp.desk.health import Scope
from codex_control_plane_mcp.desk.queue import QueueLook, WorkerLook
from codex_control_plane_mcp.doors.web.site import Site

ERRORS_SHOWN = 10
WORKERS_SHOWN = 8


def routes(site: Site) -> list[Route]:
    desk = site.desk

    async def health(request: Request) -> Response:
        return await site.page(
            request,
            "health.html",
            health=await desk.health(Scope(max_recent_errors=ERRORS_SHOWN)),
            queue=await desk.queue_status(QueueLook(limit=1)),
            workers=(await desk.worker_status(WorkerLook(limit=WORKERS_SHOWN))).workers,
        )

    return [Route("/health", site.reads(health))]
