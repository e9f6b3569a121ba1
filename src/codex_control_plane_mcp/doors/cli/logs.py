"""`logs`: what happened in one task, entry by entry; or the end of the worker's own log."""

import sys
from collections import deque
from pathlib import Path

from rich.text import Text

from codex_control_plane_mcp.desk.lookup import Thing
from codex_control_plane_mcp.desk.views import ProgressEvent
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import Room, chosen_settings, room_of
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.doors.cli.terminal import page_on
from codex_control_plane_mcp.doors.cli.words import MARKS, local_date, plain
from codex_control_plane_mcp.doors.presentable import presentable
from codex_control_plane_mcp.doors.shape import as_json as shaped
from codex_control_plane_mcp.errors import NotFound
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.redact import redact

#: Read at once.
PAGE = 500


class NoLog(NotFound):
    code = "CODEX_LOG_NOT_FOUND"


def run(typed: str | None, lines: int, state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        if typed is None:
            _worker_log(chosen.worker_log, lines, as_json=as_json)
            return Exit.DONE
        with room_of(chosen) as room:
            found = await room.find(typed, Thing.OPERATION)
            events = await _last(room, found.id, lines)
        if as_json:
            told = {"operationId": found.id, "events": [shaped(one) for one in events]}
            print_json(presentable({"ok": True, **told}))
        else:
            _show(events)
        return Exit.DONE

    return carried_out(work, as_json=as_json)


async def _last(room: Room, operation_id: str, count: int) -> list[ProgressEvent]:
    """The last entries of a task; `count` 0: all of them."""
    seq = 0
    if count:
        now = await room.operation(operation_id, events=0)
        seq = max(0, now.latest_seq - count)
    events: list[ProgressEvent] = []
    while page := (await room.events(operation_id, seq, PAGE)).progress_events:
        events += page
        seq = page[-1].seq
    return events


def _show(events: list[ProgressEvent]) -> None:
    console = page_on(sys.stdout)
    for event in events:
        mark, style = MARKS[Category(event.category)]
        head = Text.assemble((f"{local_date(event.at)}  ", "dim"), (f"{mark} ", style))
        console.print(head + Text(plain(event.text).rstrip("\n"), style), soft_wrap=True)


def _worker_log(path: Path, lines: int, *, as_json: bool) -> None:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            last = [line.rstrip("\n") for line in deque(file, maxlen=lines or None)]
    except FileNotFoundError:
        raise NoLog(f"there is no log at {path}: no worker has run for this state yet") from None
    if as_json:
        print_json({"ok": True, "path": str(path), "lines": [redact(line) for line in last]})
        return
    console = page_on(sys.stdout)
    for line in last:
        console.print(Text(plain(line)), soft_wrap=True)
