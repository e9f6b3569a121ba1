"""The metrics, for programs: no session, but a token of their own."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.bearer import CHALLENGE, REFUSAL, is_borne, kept_token
from codex_control_plane_mcp.doors.prometheus import CONTENT_TYPE, exposition
from codex_control_plane_mcp.errors import ControlPlaneError

PATH = "/metrics"


def endpoint(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    token_file = desk.settings.metrics_token_file

    async def metrics(request: Request) -> Response:
        # Read each time, so that a token that somebody changed or removed is valid no more.
        if not is_borne(request.headers.get("authorization", ""), kept_token(token_file)):
            return PlainTextResponse(REFUSAL, 401, CHALLENGE)
        try:
            found = await desk.metrics()
        except ControlPlaneError as error:
            return PlainTextResponse(f"{error.message}\n", 503)
        return Response(exposition(found), headers={"Content-Type": CONTENT_TYPE})

    return metrics
