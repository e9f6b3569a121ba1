"""The outbox: notices are put in with the fact that they tell of, and taken out once delivered.

A notice goes to each receiver by itself. Those of one operation go to a receiver in the order in
which they came: the next only when the one before is delivered or given up.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    Connection,
    Row,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from codex_control_plane_mcp.clock import Moment, later
from codex_control_plane_mcp.model.ids import HERE, HostId
from codex_control_plane_mcp.model.interaction import Interaction, Kind
from codex_control_plane_mcp.model.notice import Event, Notice
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.model.plain import from_plain, to_plain
from codex_control_plane_mcp.model.workflow import ENDED, Phase, Stand, stand
from codex_control_plane_mcp.store import lookup, operations, workflows
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.engine import stand_alone
from codex_control_plane_mcp.store.schema import notices

ReceiverName: TypeAlias = Literal["webhook", "command", "desktop"]

#: Names the lock of who gives notices their numbers, among PostgreSQL's advisory locks.
_NUMBERS = 0x636F646E74
#: Delivered notices stay so long, for who looks whether they were.
KEEP_SECONDS = 7 * 86_400
#: A longer text is cut.
MAX_TEXT_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice on its way to one receiver."""

    seq: int
    receiver: str
    notice: Notice
    created_at: Moment
    #: In vain, and the one that was not.
    attempts: int
    due_at: Moment
    #: Why the last attempt was in vain.
    trouble: str | None
    delivered_at: Moment | None
    #: When it was given up.
    dead_at: Moment | None


# --- Putting in ----------------------------------------------------------------------------------


class Notices:
    """Notices of what needs somebody and of what has ended, for these receivers."""

    def __init__(self, receivers: Sequence[ReceiverName], *, with_text: bool = False) -> None:
        self._receivers = receivers
        self._with_text = with_text

    def ended(self, writing: Writing, operation: Operation) -> None:
        where = _stand_of(writing.connection, operation)
        event = _event(where)
        self._put(
            writing,
            operation,
            Notice(
                id=f"{operation.id}_ended",
                event=event,
                summary=_SUMMARIES.get(event) or _ENDS[operation.status],
                created_at=writing.now,
                workflow_phase=None if where is None else where.phase.value,
                text=_said(operation),
            ),
        )

    def opened(self, writing: Writing, interaction: Interaction) -> None:
        operation = lookup.get(writing.connection, interaction.operation_id)
        assert operation is not None  # noqa: S101  # the interaction's row refers to it
        asked = interaction.asked
        self._put(
            writing,
            operation,
            Notice(
                id=interaction.id,
                event=Event.INTERACTION_OPENED,
                summary=_ASKS[asked.kind],
                created_at=writing.now,
                interaction_id=interaction.id,
                kind=asked.kind.value,
                text="\n".join(part for part in (asked.prompt, asked.command) if part),
            ),
        )

    def _put(self, writing: Writing, operation: Operation, notice: Notice) -> None:
        text = notice.text if self._with_text else None
        notice = replace(
            notice,
            operation_id=operation.id,
            operation_type=operation.request.type.value,
            project_id=operation.request.project_id,
            status=operation.status.value,
            thread_id=operation.thread_id,
            turn_id=operation.turn_id,
            workflow_id=operation.workflow_id,
            text=text and operations.clean(text)[:MAX_TEXT_CHARS],
        )
        # Nobody else takes a number until we are done.
        stand_alone(writing.connection, _NUMBERS)
        seq = writing.connection.scalar(_LAST_SEQ) or 0
        writing.connection.execute(
            _INSERT,
            [
                {
                    "seq": number,
                    "id": notice.id,
                    "receiver": receiver,
                    "host": writing.host,
                    "operation_id": operation.id,
                    "notice": json.dumps(to_plain(notice)),
                    "created_at": writing.now,
                    "attempts": 0,
                    "due_at": writing.now,
                }
                for number, receiver in enumerate(self._receivers, seq + 1)
            ],
        )
        writing.tell(operation.id, Subject.NOTICE)


def _stand_of(connection: Connection, operation: Operation) -> Stand | None:
    """Where the workflow stands that an operation belongs to."""
    if operation.workflow_id is None:
        return None
    workflow = workflows.get(connection, operation.workflow_id)
    # Steering tells a workflow's turn something, and is none of its steps.
    if workflow is None or operation.id not in workflow.operation_ids:
        return None
    return stand(workflow, workflows.operations_of(connection, workflow))


def _event(where: Stand | None) -> Event:
    match where and where.phase:
        case Phase.PLAN_READY:
            return Event.PLAN_READY
        case Phase.PLAN_NEEDS_REVIEW:
            return Event.PLAN_NEEDS_REVIEW
        case phase if phase in ENDED:
            return Event.WORKFLOW_ENDED
        case _:
            return Event.OPERATION_ENDED


def _said(operation: Operation) -> str | None:
    if operation.report is not None:
        return operation.report.text
    return None if operation.trouble is None else operation.trouble.message


_SUMMARIES = {
    Event.PLAN_READY: "A plan is ready: read it, and approve it or have it made anew.",
    Event.PLAN_NEEDS_REVIEW: "Planning ended without a plan: read what Codex says instead.",
}
_ENDS = {
    Status.COMPLETED: "The task is completed.",
    Status.FAILED: "The task failed.",
    Status.INTERRUPTED: "The task was interrupted.",
    Status.CANCELLED: "The task was cancelled before it began.",
    Status.UNKNOWN: "Codex went away: whether the task was done is not known.",
}
_ASKS = {
    Kind.APPROVAL: "Codex waits for a yes or no.",
    Kind.PERMISSIONS: "Codex asks for more permissions.",
    Kind.USER_INPUT: "Codex has a question.",
    Kind.ELICITATION: "A tool that Codex uses has a question.",
}


# --- Taking out ----------------------------------------------------------------------------------


def heads(connection: Connection, receiver: str, limit: int, host: HostId = HERE) -> list[Delivery]:
    """Of each operation the notice that a receiver is to get next from a host; those due first come
    first."""
    found = connection.execute(_HEADS, {"receiver": receiver, "host": host, "most": limit})
    return [_delivery(row) for row in found]


def delivered(writing: Writing, delivery: Delivery) -> None:
    """A receiver has it."""
    writing.connection.execute(
        _MARK,
        {
            "mark": delivery.seq,
            "attempts": delivery.attempts + 1,
            "trouble": None,
            "delivered_at": writing.now,
            "due_at": delivery.due_at,
            "dead_at": None,
        },
    )
    writing.connection.execute(_FORGET, {"before": later(writing.now, -KEEP_SECONDS)})


def missed(writing: Writing, delivery: Delivery, trouble: str, due_at: Moment | None) -> None:
    """A receiver does not have it; it is tried again then, or given up."""
    writing.connection.execute(
        _MARK,
        {
            "mark": delivery.seq,
            "attempts": delivery.attempts + 1,
            "trouble": operations.clean(trouble),
            "delivered_at": None,
            "due_at": delivery.due_at if due_at is None else due_at,
            "dead_at": writing.now if due_at is None else None,
        },
    )


def replay(writing: Writing, notice_id: str | None) -> int:
    """Have a notice sent once more to all its receivers, under its id; None: all that were given
    up. Gives how many deliveries that is."""
    again = {"due_at": writing.now}
    if notice_id is None:
        return writing.connection.execute(_REPLAY_DEAD, again).rowcount
    return writing.connection.execute(_REPLAY, {"notice_id": notice_id, **again}).rowcount


def give_up(writing: Writing, host: HostId, trouble: str) -> None:
    """Give up what a host was to deliver, and will not."""
    values = {"of": host, "dead_at": writing.now, "trouble": trouble}
    writing.connection.execute(_GIVE_UP, values)


def newest(connection: Connection, limit: int) -> list[Delivery]:
    """Those given up first, and those delivered last."""
    return [_delivery(row) for row in connection.execute(_NEWEST, {"most": limit})]


def waiting_count(connection: Connection, receiver: str, host: HostId = HERE) -> int:
    return connection.scalar(_COUNT_WAITING, {"receiver": receiver, "host": host}) or 0


def dead_count(connection: Connection) -> int:
    return connection.scalar(_COUNT_DEAD) or 0


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        row.seq,
        row.receiver,
        from_plain(Notice, json.loads(row.notice)),
        row.created_at,
        row.attempts,
        row.due_at,
        row.trouble,
        row.delivered_at,
        row.dead_at,
    )


# --- Statements, made once -----------------------------------------------------------------------

_ROWS = notices.c
_EARLIER = notices.alias("earlier").c
_WAITS = and_(_ROWS.delivered_at.is_(None), _ROWS.dead_at.is_(None))

_LAST_SEQ = select(func.max(_ROWS.seq))
_INSERT = insert(notices)
_HEADS = (
    select(notices)
    .where(
        _WAITS,
        _ROWS.receiver == bindparam("receiver"),
        _ROWS.host == bindparam("host"),
        ~exists().where(
            _EARLIER.delivered_at.is_(None),
            _EARLIER.dead_at.is_(None),
            _EARLIER.receiver == _ROWS.receiver,
            _EARLIER.host == _ROWS.host,
            _EARLIER.operation_id == _ROWS.operation_id,
            _EARLIER.seq < _ROWS.seq,
        ),
    )
    .order_by(_ROWS.due_at, _ROWS.seq)
    .limit(bindparam("most"))
)
#: Who was delivered by another worker meanwhile stays so.
_MARK = update(notices).where(_ROWS.seq == bindparam("mark"), _ROWS.delivered_at.is_(None))
_FORGET = delete(notices).where(_ROWS.delivered_at < bindparam("before"))
_AGAIN = update(notices).values(
    delivered_at=None, dead_at=None, attempts=0, due_at=bindparam("due_at")
)
_GIVE_UP = update(notices).where(_WAITS, _ROWS.host == bindparam("of"))
_REPLAY = _AGAIN.where(_ROWS.id == bindparam("notice_id"))
_REPLAY_DEAD = _AGAIN.where(_ROWS.dead_at.is_not(None))
_NEWEST = (
    select(notices)
    .order_by(_ROWS.delivered_at.is_not(None), _ROWS.dead_at.is_(None), _ROWS.seq.desc())
    .limit(bindparam("most"))
)
_COUNT_WAITING = (
    select(func.count())
    .select_from(notices)
    .where(_WAITS, _ROWS.receiver == bindparam("receiver"), _ROWS.host == bindparam("host"))
)
_COUNT_DEAD = select(func.count()).select_from(notices).where(_ROWS.dead_at.is_not(None))
