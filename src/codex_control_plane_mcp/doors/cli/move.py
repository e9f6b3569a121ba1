"""`move-to-postgres`: the book of one machine becomes that of a fleet."""

import sys

from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import (
    book_of,
    chosen_settings,
    fleet_settings,
    no_worker_at,
)
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.store.move import copy


def run(state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = fleet_settings()
        left = chosen_settings(state_db or str(chosen.state_db))
        with book_of(left) as source, no_worker_at(left), book_of(chosen) as target:
            copied = copy(source, target)
        if as_json:
            rows = {one.table: {"rows": one.rows, "sha256": one.digest} for one in copied}
            print_json({"ok": True, "host": chosen.host, "tables": rows})
            return Exit.DONE
        for one in copied:
            sys.stdout.write(f"{one.table:14} {one.rows:>9,} rows  {one.digest[:16]}\n")
        sys.stdout.write(
            f"Moved to {chosen.database_url} as host {chosen.host}: every row is there, and the "
            f"same.\n{left.state_db} is left as it is; keep it until you trust the new one.\n"
        )
        return Exit.DONE

    return carried_out(work, as_json=as_json)
