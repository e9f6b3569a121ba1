"""`notices`: what was told to whom, once more, and a try."""

import json
import os
import sys
import uuid
from dataclasses import dataclass

import anyio

from codex_control_plane_mcp import settings
from codex_control_plane_mcp.clock import SystemClock, isoformat
from codex_control_plane_mcp.doors.cli.room import book_of, chosen_settings
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.notice import Event, Notice
from codex_control_plane_mcp.store import notices
from codex_control_plane_mcp.store.notices import Delivery
from codex_control_plane_mcp.work.courier import NotTaken, Receiver
from codex_control_plane_mcp.work.receivers import receivers_of

EXIT_NOT_SENT = 1


def show(state_db: str | None, limit: int, *, as_json: bool) -> int:
    with book_of(chosen_settings(state_db)) as book:
        found = book.read_now(lambda reading: notices.newest(reading, limit))
    if as_json:
        _print({"notices": [_as_json(one) for one in found]})
    elif found:
        _table(found)
    else:
        sys.stdout.write("No notices.\n")
    return 0


def send_again(
    state_db: str | None, notice_id: str | None, *, all_dead: bool, as_json: bool
) -> int:
    if (notice_id is None) != all_dead:
        raise InvalidArgument("name one notice, or say --all-dead; `notices list` shows them")
    with book_of(chosen_settings(state_db)) as book:
        count, _ = book.write_now(lambda writing: notices.replay(writing, notice_id))
    if as_json:
        _print({"noticeId": notice_id, "deliveries": count})
    elif count:
        sys.stdout.write(f"To be sent once more, by the worker within five minutes: {count}.\n")
    else:
        sys.stdout.write("There is none to send; `notices list` shows them.\n")
    return 0 if count else EXIT_NOT_SENT


@dataclass(frozen=True, slots=True)
class _Tried:
    receiver: str
    #: None: it took it.
    trouble: str | None


def try_out(*, as_json: bool) -> int:
    receivers = receivers_of(settings.load(os.environ))
    if not receivers:
        raise InvalidArgument(
            "nobody is to be told: set CODEX_MCP_NOTICES_WEBHOOK_URL with "
            "CODEX_MCP_NOTICES_WEBHOOK_SECRET_FILE, CODEX_MCP_NOTICES_COMMAND, or "
            "CODEX_MCP_NOTICES_DESKTOP"
        )
    now = SystemClock().now()
    notice = Notice(
        # Of no fact, so of no name: a new one each time.
        id=f"test_{uuid.uuid4().hex}",
        event=Event.TEST,
        summary="This is a test: notices arrive.",
        created_at=now,
    )
    tried = [anyio.run(_try, name, receiver, notice) for name, receiver in receivers.items()]
    if as_json:
        results = [
            {"receiver": one.receiver, "taken": one.trouble is None, "trouble": one.trouble}
            for one in tried
        ]
        _print({"noticeId": notice.id, "results": results})
    else:
        for one in tried:
            sys.stdout.write(f"{one.receiver}: {one.trouble or 'took it'}\n")
    return EXIT_NOT_SENT if any(one.trouble for one in tried) else 0


async def _try(name: str, receiver: Receiver, notice: Notice) -> _Tried:
    try:
        await receiver(notice)
    except NotTaken as error:
        return _Tried(name, str(error))
    return _Tried(name, None)


def _status(delivery: Delivery) -> str:
    if delivery.delivered_at is not None:
        return "delivered"
    return "waiting" if delivery.dead_at is None else "dead"


def _as_json(delivery: Delivery) -> dict[str, object]:
    notice = delivery.notice
    waits = _status(delivery) == "waiting"
    return {
        "id": notice.id,
        "event": notice.event.value,
        "summary": notice.summary,
        "operationId": notice.operation_id,
        "workflowId": notice.workflow_id,
        "interactionId": notice.interaction_id,
        "receiver": delivery.receiver,
        "status": _status(delivery),
        "attempts": delivery.attempts,
        "createdAt": isoformat(delivery.created_at),
        "deliveredAt": delivery.delivered_at and isoformat(delivery.delivered_at),
        "nextAttemptAt": isoformat(delivery.due_at) if waits else None,
        "trouble": delivery.trouble,
    }


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _table(found: list[Delivery]) -> None:
    from rich.table import Table
    from rich.text import Text

    from codex_control_plane_mcp.doors.cli.terminal import console_on

    colours = {"delivered": "green", "waiting": "yellow", "dead": "bold red"}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("when", no_wrap=True)
    table.add_column("id", no_wrap=True)
    table.add_column("event", no_wrap=True)
    table.add_column("to", no_wrap=True)
    table.add_column("is", no_wrap=True)
    table.add_column("attempts", justify="right")
    table.add_column("trouble", overflow="fold")
    for one in found:
        status = _status(one)
        table.add_row(
            isoformat(one.created_at)[:19].replace("T", " "),
            one.notice.id,
            one.notice.event.value,
            one.receiver,
            Text(status, style=colours[status]),
            str(one.attempts),
            Text(one.trouble or "", style="dim"),
        )
    console_on(sys.stdout, widest=None).print(table)
