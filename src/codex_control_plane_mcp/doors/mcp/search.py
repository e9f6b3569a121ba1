"""The tool that searches what was asked and said."""

from typing import Annotated, Any

from pydantic import Field

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.search import Query
from codex_control_plane_mcp.desk.views_search import SearchView
from codex_control_plane_mcp.doors.mcp.arguments import Arguments, given
from codex_control_plane_mcp.doors.mcp.fit import Json, drop_last
from codex_control_plane_mcp.doors.mcp.tool import READS, Shown, Tool
from codex_control_plane_mcp.store.search import MatchMode

_Mode = Annotated[MatchMode, Field(strict=False)]


class SearchChats(Arguments):
    query: str
    project_id: str | None = Field(None, description="Id, path or exact name")
    match_mode: _Mode | None = Field(None, description="Of its words: all is the default")
    limit: Annotated[int, Field(ge=1, le=50)] | None = None
    cursor: str | None = None


async def _search(desk: Desk, wanted: SearchChats, _by: str) -> Shown:
    options = given(wanted, "limit", "cursor")
    if wanted.match_mode is not None:
        options["mode"] = wanted.match_mode
    page = await desk.search(Query(wanted.query, wanted.project_id, **options))

    def go_on(result: Json, left: int) -> None:
        result["nextCursor"] = page.place.cursor_behind(left)

    return Shown((page.view,), (drop_last("results", then=go_on),))


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "codex_search_chats",
        "Search prompts, answers, plans and reports: our tasks, and people's own turns in Codex.",
        SearchChats,
        (SearchView,),
        READS,
        _search,
        toolset="read",
        repeatable=True,
        stable=False,
    ),
)
