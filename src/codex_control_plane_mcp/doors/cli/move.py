"""`move-to-postgres`: the book of one machine becomes that of a fleet."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import book_of, chosen_settings, fleet_settings
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.errors import Busy
from codex_control_plane_mcp.locks import FileLock
from codex_control_plane_mcp.rendezvous import worker_lock_path
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store.book import Book
from codex_control_plane_mcp.store.move import copy


def run(state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = fleet_settings()
        left = chosen_settings(state_db or str(chosen.state_db))
        with _left_alone(left) as source, book_of(chosen) as target:
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


@contextmanager
def _left_alone(chosen: Settings) -> Iterator[Book]:
    """The book of a machine that no worker has meanwhile. Raises InvalidArgument, Busy."""
    with book_of(chosen) as book:
        lock = FileLock(worker_lock_path(str(chosen.state_db)))
        if not lock.acquire(blocking=False):
            raise Busy(
                "a worker has this state: end it first, with its turns left running: "
                "codex-control-plane-mcp-admin stop --worker-only"
            )
        try:
            yield book
        finally:
            lock.release()
