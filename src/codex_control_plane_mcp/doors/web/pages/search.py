"""Search: prompts, answers, plans and reports, ours and people's own."""

import re

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codex_control_plane_mcp.desk.desk import Projects
from codex_control_plane_mcp.desk.search import Page, Query
from codex_control_plane_mcp.doors.web.site import Site
from codex_control_plane_mcp.doors.web.words import presentable
from codex_control_plane_mcp.errors import InvalidArgument, ProjectNotFound
from codex_control_plane_mcp.store.search import MatchMode


def routes(site: Site) -> list[Route]:
    async def search(request: Request) -> Response:
        query = request.query_params
        words, project, mode = (query.get(name, "") for name in ("q", "project", "mode"))
        found: Page | None = None
        problem = None
        if words.strip():
            try:
                found = await site.desk.search(
                    Query(
                        words,
                        project or None,
                        MatchMode(mode) if mode in tuple(MatchMode) else MatchMode.ALL,
                        cursor=query.get("cursor"),
                    )
                )
            except (InvalidArgument, ProjectNotFound) as error:
                problem = error.message
        return await site.page(
            request,
            "search.html",
            words=words,
            project=project,
            mode=mode,
            modes=list(MatchMode),
            found=None if found is None else found.view,
            problem=problem,
            marked=lambda text: _marked(text, words),
            projects=(await site.desk.projects(Projects(limit=200))).projects,
        )

    return [Route("/search", site.reads(search))]


def _marked(text: str, words: str) -> Markup:
    """The text, with what was searched for marked in it."""
    shown = str(presentable(text))
    wanted = [re.escape(word) for word in re.findall(r"\w+", words)]
    if not wanted:
        return Markup("{}").format(shown)
    parts = re.split(f"({'|'.join(wanted)})", shown, flags=re.IGNORECASE)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )
