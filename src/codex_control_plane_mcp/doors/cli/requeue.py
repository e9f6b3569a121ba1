"""`requeue`: a person decides what becomes of a task whose host is gone."""

import getpass
import sys

from codex_control_plane_mcp.desk.lookup import Thing, find
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import book_of, fleet_settings
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.work.requeue import requeue


def run(typed: str, *, as_json: bool) -> int:
    async def work() -> Exit:
        with book_of(fleet_settings()) as book:
            found = await book.read(lambda reading: find(reading, typed, Thing.OPERATION))
            anew = await requeue(book, OperationId(found.id), getpass.getuser())
        if as_json:
            print_json({"ok": True, "operationId": found.id, "requeuedAs": anew.id})
        else:
            sys.stdout.write(f"{found.id} has ended; {anew.id} waits in the queue in its place.\n")
        return Exit.DONE

    return carried_out(work, as_json=as_json)
