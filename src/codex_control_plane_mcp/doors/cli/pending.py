"""`pending`: what waits for somebody: Codex's questions, and plans to decide on."""

import sys

from rich.console import Console
from rich.text import Text

from codex_control_plane_mcp.desk.lookup import Thing
from codex_control_plane_mcp.desk.views import InteractionView
from codex_control_plane_mcp.desk.views_roll import UndecidedLine
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import chosen_settings, has_state, room_of
from codex_control_plane_mcp.doors.cli.sheets import how_to_answer, how_to_decide, question
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.doors.cli.terminal import page_on
from codex_control_plane_mcp.doors.cli.words import one_line, state_name, style_of
from codex_control_plane_mcp.doors.presentable import presentable
from codex_control_plane_mcp.doors.shape import as_json as shaped


def run(typed: str | None, state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        asked: tuple[InteractionView, ...] = ()
        undecided: tuple[UndecidedLine, ...] = ()
        if typed is not None or has_state(chosen):
            with room_of(chosen) as room:
                found = typed and await room.find(typed, Thing.OPERATION, Thing.WORKFLOW)
                asked = await room.questions(found or None)
                undecided = tuple(
                    one
                    for one in (await room.roll(0)).undecided
                    if not found or one.workflow_id == found.id
                )
        if as_json:
            print_json(
                presentable(
                    {
                        "ok": True,
                        "interactions": [shaped(one) for one in asked],
                        "undecided": [shaped(one) for one in undecided],
                    }
                )
            )
        else:
            _show(asked, undecided, page_on(sys.stdout))
        return Exit.DONE

    return carried_out(work, as_json=as_json)


def _show(
    asked: tuple[InteractionView, ...], undecided: tuple[UndecidedLine, ...], console: Console
) -> None:
    if not asked and not undecided:
        console.print("Nothing waits for you.")
    for one in asked:
        console.print(*question(one, console), sep="\n")
        console.print(how_to_answer([one]))
    for line in undecided:
        console.print()
        console.print(
            Text.assemble(
                (state_name(line.phase), style_of(line.phase)), "  ", (one_line(line.title), "bold")
            )
        )
        console.print(how_to_decide(line.workflow_id))
