"""The pages, by their addresses. All lie below one folder that only this state's links name; beside
it are the metrics, for programs."""

import re
from collections.abc import Callable

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.web import metrics
from codex_control_plane_mcp.doors.web.guard import Guard
from codex_control_plane_mcp.doors.web.keys import SESSION_SECONDS, Keys
from codex_control_plane_mcp.doors.web.live import stream
from codex_control_plane_mcp.doors.web.pages import (
    health,
    inbox,
    now,
    plans,
    search,
    tasks,
    usage,
)
from codex_control_plane_mcp.doors.web.site import Site
from codex_control_plane_mcp.errors import ControlPlaneError, NotFound

#: The browser may keep what has its content in its address.
FOR_EVER = "private, max-age=31536000, immutable"


def make_app(
    desk: Desk,
    keys: Keys,
    port: int,
    leaving: anyio.Event,
    count: Callable[[int], None] = lambda _change: None,
) -> ASGIApp:
    """The pages of one worker, behind their guard."""
    site = Site(desk, keys, leaving, count)
    own = [
        route
        for page in (now, tasks, inbox, plans, search, health, usage)
        for route in page.routes(site)
    ]
    shared = [
        Route("/enter", _enter(site)),
        Route("/live", _live(site)),
        Route("/alive", _alive),
        Route("/assets/{name}", _asset(site)),
        Route("/{rest:path}", site.reads(_nothing), methods=["GET", "POST"]),
    ]
    app = Starlette(
        routes=[
            Mount(site.base.rstrip("/"), routes=[*own, *shared]),
            Route(metrics.PATH, metrics.endpoint(desk)),
        ]
    )
    free = [
        metrics.PATH,
        f"{site.base}enter",
        *(f"{site.base}assets/{name}" for name in site.assets),
    ]
    return Guard(app, keys, port, free)


def _enter(site: Site) -> Callable[[Request], Response]:
    def enter(request: Request) -> Response:
        cookie = site.keys.use_link(request.query_params.get("key", ""))
        if cookie is None:
            return HTMLResponse(site.render("enter.html", go=None), 403)
        # Not a redirect: where the link was opened from elsewhere, a browser would follow one
        # without the cookie.
        answer = HTMLResponse(site.render("enter.html", go=site.base))
        answer.set_cookie(
            site.keys.cookie,
            cookie,
            max_age=SESSION_SECONDS,
            path=site.base,
            httponly=True,
            samesite="strict",
        )
        return answer

    return enter


def _live(site: Site) -> Callable[[Request], object]:
    async def live(request: Request) -> object:
        try:
            return await stream(site, request)
        except ControlPlaneError as error:
            return Response(f"{error.message}\n", 404, media_type="text/plain")

    return live


def _alive(_request: Request) -> Response:
    """For a page that lost its stream: whether the worker is there, and its session good."""
    return Response(status_code=204)


def _asset(site: Site) -> Callable[[Request], Response]:
    def asset(request: Request) -> Response:
        found = site.assets.get(request.path_params["name"])
        if found is None:
            return Response("no such file\n", 404, media_type="text/plain")
        answer = Response(found.content, media_type=found.type)
        if request.query_params.get("v") == found.version:
            answer.headers["Cache-Control"] = FOR_EVER
        return answer

    return asset


async def _nothing(request: Request) -> Response:
    # What people typed is shown to them again, but not at any length.
    name = re.sub(r"[^\w/.-]", "", request.path_params["rest"])[:80]
    raise NotFound(f"there is no page {name}")
