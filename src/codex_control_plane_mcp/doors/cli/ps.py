"""`ps`: what wants somebody, what runs, what waits, what ended last."""

import sys

from rich.text import Text

from codex_control_plane_mcp.desk.views_roll import Roll
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import chosen_settings, has_state, room_of
from codex_control_plane_mcp.doors.cli.sheets import is_empty, roll_table
from codex_control_plane_mcp.doors.cli.speaking import PROGRAM, carried_out, document, print_json
from codex_control_plane_mcp.doors.cli.terminal import page_on

#: A table of tasks may be wider than prose.
WIDEST = 160
NOTHING = Roll((), (), (), (), 0, 0)


def run(state_db: str | None, ended: int, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        if not has_state(chosen):  # nothing was ever handed in
            _show_nothing(as_json=as_json)
            return Exit.DONE
        with room_of(chosen) as room:
            found, now = await room.roll(ended), room.now()
        if as_json:
            print_json(document(found))
        elif is_empty(found) and not found.hosts:
            _show_nothing(as_json=False)
        else:
            page_on(sys.stdout, WIDEST).print(roll_table(found, now))
        return Exit.DONE

    return carried_out(work, as_json=as_json)


def _show_nothing(*, as_json: bool) -> None:
    if as_json:
        print_json(document(NOTHING))
        return
    page_on(sys.stdout).print(
        Text.assemble("No tasks yet. ", (f"{PROGRAM} submit", "bold"), " hands one in.")
    )
