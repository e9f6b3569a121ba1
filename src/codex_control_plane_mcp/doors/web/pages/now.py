"""Now: what wants somebody, what runs, what waits and why, what ended."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codex_control_plane_mcp.doors.web.site import Site


def routes(site: Site) -> list[Route]:
    async def now(request: Request) -> Response:
        return await site.page(request, "now.html", board=await site.desk.overview.now())

    return [Route("/", site.reads(now))]
