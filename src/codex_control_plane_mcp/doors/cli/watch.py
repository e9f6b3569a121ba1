"""`watch`: what happens, as it happens: in one task until it ends, or in all until Ctrl-C."""

import os
import sys
from collections.abc import Sequence

import anyio
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from codex_control_plane_mcp.desk.lookup import Found, Thing
from codex_control_plane_mcp.desk.views_roll import Roll, RollLine
from codex_control_plane_mcp.doors.cli.client import Server, connected
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.following import Follower, follow
from codex_control_plane_mcp.doors.cli.ps import WIDEST
from codex_control_plane_mcp.doors.cli.room import Room, chosen_settings, room_of
from codex_control_plane_mcp.doors.cli.sheets import roll_table
from codex_control_plane_mcp.doors.cli.show import view_of
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.doors.cli.telling import JsonLines, Narrator, Screen
from codex_control_plane_mcp.doors.cli.terminal import page_on
from codex_control_plane_mcp.doors.cli.words import one_line, state_name, style_of
from codex_control_plane_mcp.doors.presentable import presentable
from codex_control_plane_mcp.doors.shape import as_json as shaped

#: Entries of the past that one sees first.
PAST = 20
#: A task that is handed in meanwhile is seen after this long at the latest.
LOOK_SECONDS = 3
#: The tool takes no more at once.
MOST = 50


def run(
    typed: str | None, timeout: float | None, ended: int, state_db: str | None, *, as_json: bool
) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        with room_of(chosen) as room:
            found = typed and await room.find(typed, Thing.OPERATION, Thing.WORKFLOW)
            async with connected(os.environ, chosen.state_db) as server:
                with anyio.move_on_after(timeout):
                    if found:
                        return await _one(room, server, found, as_json=as_json)
                    await _all(room, server, ended, as_json=as_json)
        return Exit.TIMEOUT

    return carried_out(work, as_json=as_json, interrupted="Watching has ended; the work goes on.")


async def _one(room: Room, server: Server, found: Found, *, as_json: bool) -> Exit:
    narrator: Narrator = JsonLines() if as_json else Screen(page_on(sys.stdout), reports=True)
    with narrator:
        outcome = await follow(Follower(room, server, found, past=PAST), narrator)
        narrator.ended(outcome, await view_of(room, found))
    return outcome


async def _all(room: Room, server: Server, ended: int, *, as_json: bool) -> None:
    console = page_on(sys.stdout, WIDEST)
    lives = console.is_terminal and not console.is_dumb_terminal and not as_json
    board = _Board(console, room, lives=lives, as_json=as_json)
    with board.live:
        news = _News(server)
        while True:
            found = await room.roll(ended)
            board.show(found)
            await news.wait([line.operation_id for line in (*found.active, *found.queued)][:MOST])


class _News:
    """Waits until one of some tasks changes, or a moment where there is none."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ids: Sequence[str] = ()
        self._cursor: str | None = None

    async def wait(self, ids: Sequence[str]) -> None:
        if not ids:
            await anyio.sleep(LOOK_SECONDS)
            return
        if ids != self._ids:
            self._ids, self._cursor = ids, None
        told = await self._server.call(
            "codex_wait",
            operation_ids=list(ids),
            wait_seconds=LOOK_SECONDS,
            cursor=self._cursor,
            until="change",
        )
        self._cursor = str(told["cursor"])


class _Board:
    """The table of all tasks, where it can live; else a line for each change."""

    def __init__(self, console: Console, room: Room, *, lives: bool, as_json: bool) -> None:
        self._console = console
        self._room = room
        self._lives = lives
        self._as_json = as_json
        self._roll = Roll((), (), (), (), 0, 0)
        self._told: dict[str, object] = {}
        self.live = Live(
            console=console if lives else Console(quiet=True),
            get_renderable=self._table,
            refresh_per_second=2,
            vertical_overflow="ellipsis",
        )

    def show(self, roll: Roll) -> None:
        self._roll = roll
        if self._lives:
            return
        for line in (*roll.ended[::-1], *roll.queued, *roll.active):
            stand = (line.status, line.pending_interaction_count)
            if self._told.get(line.operation_id) != stand:
                self._told[line.operation_id] = stand
                self._line(line)

    def _line(self, line: RollLine) -> None:
        if self._as_json:
            print_json({"type": "operation", **presentable(shaped(line))})
            return
        self._console.print(
            Text.assemble(
                (line.operation_id, "dim"),
                "  ",
                (state_name(line.status), style_of(line.status)),
                f"  {one_line(line.title)}",
            )
        )

    def _table(self) -> RenderableType:
        return roll_table(self._roll, self._room.now())
