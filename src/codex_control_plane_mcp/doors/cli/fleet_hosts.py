"""`hosts`: who is in the fleet, what each has in hand, and what waits for who is away; and
`forget-host`, for who will not come back."""

import getpass
import sys

from rich.text import Text

from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.ps import WIDEST
from codex_control_plane_mcp.doors.cli.room import book_of, fleet_settings, room_of
from codex_control_plane_mcp.doors.cli.sheets import hosts_table
from codex_control_plane_mcp.doors.cli.speaking import carried_out, document, print_json
from codex_control_plane_mcp.doors.cli.terminal import page_on
from codex_control_plane_mcp.work.forget import forget as forget_host


def run(*, as_json: bool) -> int:
    async def work() -> Exit:
        with room_of(fleet_settings()) as room:
            found, now = await room.desk.hosts(), room.now()
        if as_json:
            print_json(document(found))
        elif found.hosts:
            page_on(sys.stdout, WIDEST).print(hosts_table(found.hosts, now))
        else:
            words = "No hosts yet. Start codex-control-plane-mcp-worker on each."
            page_on(sys.stdout).print(Text(words))
        return Exit.DONE

    return carried_out(work, as_json=as_json)


def forget(name: str, *, force: bool, as_json: bool) -> int:
    async def work() -> Exit:
        with book_of(fleet_settings()) as book:
            ended = await forget_host(book, name, getpass.getuser(), force=force)
        if as_json:
            print_json({"ok": True, "host": name, "ended": ended})
        else:
            for id_ in ended:
                sys.stdout.write(f"{id_} has ended.\n")
            sys.stdout.write(f"{name} is off the list.\n")
        return Exit.DONE

    return carried_out(work, as_json=as_json)
