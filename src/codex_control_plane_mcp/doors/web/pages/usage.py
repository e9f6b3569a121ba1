"""Usage: tokens and time by day, project and agent."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codex_control_plane_mcp.doors.web import plots
from codex_control_plane_mcp.doors.web.site import Site

#: What people may choose from.
SPANS = (7, 30, 90)


def routes(site: Site) -> list[Route]:
    async def usage(request: Request) -> Response:
        named = request.query_params.get("days", "")
        days = next((span for span in SPANS if str(span) == named), SPANS[1])
        return await site.page(
            request,
            "usage.html",
            usage=await site.desk.overview.usage(days),
            days=days,
            spans=SPANS,
            plots=plots,
        )

    return [Route("/usage", site.reads(usage))]
