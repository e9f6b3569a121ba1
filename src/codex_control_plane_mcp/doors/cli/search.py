"""`search`: what was asked, said, planned and reported, here and by people in Codex."""

import os
import sys

from rich.console import Console
from rich.text import Text

from codex_control_plane_mcp.doors.cli.client import Told, connected
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import chosen_settings
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.doors.cli.terminal import page_on
from codex_control_plane_mcp.doors.cli.words import one_line

TOOL = "codex_search_chats"


class Hit(Told):
    thread_id: str | None
    operation_id: str | None
    kind: str
    at: str
    snippet: str


class Hits(Told):
    results: tuple[Hit, ...]
    complete: bool


def run(
    query: str,
    project: str | None,
    mode: str | None,
    limit: int,
    state_db: str | None,
    *,
    as_json: bool,
) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        async with connected(os.environ, chosen.state_db) as server:
            told = await server.call(
                TOOL, query=query, project_id=project, match_mode=mode, limit=limit
            )
        if as_json:
            print_json(told)
        else:
            _show(Hits.model_validate(told), page_on(sys.stdout))
        return Exit.DONE

    return carried_out(work, as_json=as_json)


def _show(found: Hits, console: Console) -> None:
    for hit in found.results:
        whose = hit.operation_id or hit.thread_id or ""
        at = hit.at[:16].replace("T", " ")
        console.print(Text.assemble((at, "dim"), f"  {hit.kind}  ", (whose, "bold")))
        console.print(Text(f"  {one_line(hit.snippet)}"))
    if not found.results:
        console.print("Nothing was found.")
    if not found.complete:
        console.print(Text("The index is still being made: search again in a moment.", "yellow"))
