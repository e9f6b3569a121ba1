"""`migrate`: the tables of the state are brought to this release's, by who owns them."""

import sys
from contextlib import nullcontext

from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import (
    book_of,
    chosen_settings,
    has_state,
    no_worker_at,
)
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.store.migrate import standing


def run(state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        is_file = chosen.database_url is None and has_state(chosen)
        alone = no_worker_at(chosen) if is_file else nullcontext()
        with alone, book_of(chosen, may_break=True) as book:
            number, usable_from = await book.read(standing)
        if as_json:
            print_json({"ok": True, "edition": number, "usableFromEdition": usable_from})
        else:
            sys.stdout.write(
                f"The state is of edition {number}; releases that know edition {usable_from} or a "
                "later one can use it.\n"
            )
        return Exit.DONE

    return carried_out(work, as_json=as_json)
