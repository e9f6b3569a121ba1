"""`metrics`: the state in numbers, as Prometheus reads it."""

import sys

from codex_control_plane_mcp.clock import SystemClock
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.metrics import Metrics
from codex_control_plane_mcp.desk.runtime import NoRuntime
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import book_of, chosen_settings, has_state
from codex_control_plane_mcp.doors.cli.speaking import carried_out, document, print_json
from codex_control_plane_mcp.doors.prometheus import exposition
from codex_control_plane_mcp.settings import Settings


def run(state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        found = await _measured(chosen_settings(state_db))
        if as_json:
            print_json(document(found))
        else:
            sys.stdout.write(exposition(found))
        return Exit.DONE

    return carried_out(work, as_json=as_json)


async def _measured(chosen: Settings) -> Metrics:
    if not has_state(chosen):  # nothing was ever handed in
        return Metrics(active_turns_limit=chosen.max_active_turns_global)
    with book_of(chosen) as book:
        return await Desk(book, chosen, SystemClock(), NoRuntime()).metrics()
