"""The pen: the only code that makes an operation, moves it, or writes its journal.

A state never changes without its journal entry, nor outside the transition table, nor by a worker
whose generation is not the one on record: all three in one UPDATE and one transaction.
"""

import json
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Insert,
    Select,
    Text,
    Update,
    bindparam,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from codex_control_plane_mcp import tracing
from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import (
    Generation,
    HostId,
    OperationId,
)
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Adopted,
    Fact,
    GoalProgress,
    IllegalTransition,
    Operation,
    Report,
    StructuredStatus,
    TokenUsage,
    apply,
    sentence,
)
from codex_control_plane_mcp.model.request import (
    LocalImage,
    OperationType,
    Submission,
    attachments_of,
    payload_hash,
    prompt_key,
    request_to_json,
    sandbox_of,
)
from codex_control_plane_mcp.model.schedule import due_at
from codex_control_plane_mcp.redact import redact, redact_json
from codex_control_plane_mcp.store import workers
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.editions import USABLE_FROM, check_usable, released
from codex_control_plane_mcp.store.lookup import ALL, AMONG, NOT_QUEUED, UNFINISHED, in_order
from codex_control_plane_mcp.store.rows import columns_of, operation_of
from codex_control_plane_mcp.store.schema import hosts, journal, operations, wishes
from codex_control_plane_mcp.store.wishes import WANTS_END


class Fenced(Exception):
    """The row is no longer ours to write: another worker has taken over, or it has ended."""


class Replaced(Fenced):
    """Another worker owns now what is on this host."""


# --- Making ------------------------------------------------------------------------------------


def insert_operation(
    writing: Writing, operation_id: OperationId, submission: Submission
) -> Operation:
    """Put a submission into the queue. Who asks twice is the desk's question, not the pen's."""
    return _insert(writing, operation_id, submission, _INSERTING)


def _insert(
    writing: Writing, operation_id: OperationId, submission: Submission, statements: "_Statements"
) -> Operation:
    request = submission.request
    operation = Operation(
        id=operation_id,
        request=request,
        client_request_id=submission.client_request_id,
        agent_id=submission.agent_id,
        priority=submission.priority.value,
        created_at=writing.now,
        updated_at=writing.now,
        resource_keys=submission.resource_keys,
        workflow_id=submission.workflow_id,
        thread_id=getattr(request, "thread_id", None),
        last_seq=1,
        status_seq=1,
        host=_home(writing, submission),
        host_labels=submission.placement.labels,
    )
    line = Entry(Category.STATE, "Queued.")
    _with_journal(writing, statements, _row(operation, submission), operation, [line])
    # Before the commit: whoever drives it begins right after that.
    tracing.made(operation_id)
    writing.tell(operation_id, Subject.FACT, Subject.QUEUE)
    if request.type is OperationType.STEER_TURN:
        writing.tell(operation_id, Subject.WISH)  # Of a turn that runs.
    return operation


def _home(writing: Writing, submission: Submission) -> HostId | None:
    """The host that must have it: where its thread lives, or its workflow has worked, or the one
    that was named. A thread that the book does not know was found by the host that asks, and so
    were the pictures on its disk.

    Raises InvalidArgument where its host was forgotten."""
    request = submission.request
    if thread := getattr(request, "thread_id", None) or getattr(request, "source_thread_id", None):
        return _host_of(writing, _HOST_OF_THREAD, thread) or writing.host
    if any(isinstance(one, LocalImage) for one in attachments_of(request)):
        return writing.host
    worked = None
    if submission.workflow_id is not None:
        worked = _host_of(writing, _HOST_OF_WORKFLOW, submission.workflow_id)
    return worked or submission.placement.host


def _host_of(writing: Writing, query: Select[Any], key: str) -> HostId | None:
    row = writing.connection.execute(query, {"key": key}).one_or_none()
    if row is not None and row.forgotten_at is not None:
        raise InvalidArgument(
            f"what this goes on with lives on {row.host}, which the fleet was told to forget; "
            "start a new chat, or bring that host back"
        )
    return None if row is None else row.host


def try_insert(
    writing: Writing, operation_id: OperationId, submission: Submission
) -> Operation | None:
    """`insert_operation`, or None where a submission made at the same moment by another process
    has the `client_request_id` or the prompt already: then it can be seen now."""
    if writing.connection.dialect.name == "postgresql":
        with suppress(Fenced):
            return _insert(writing, operation_id, submission, _INSERTING_UNLESS_THERE)
        return None
    try:
        return insert_operation(writing, operation_id, submission)
    except IntegrityError:  # SQLite takes back that statement, and the transaction goes on.
        return None


def insert_past(
    writing: Writing,
    past: Operation,
    submission: Submission,
    lines: Sequence[tuple[Moment, Entry]],
) -> None:
    """Put an operation on record that ended elsewhere, with its journal, as they are."""
    if not past.is_final:
        raise IllegalTransition(f"{past.status} is not the past")
    kept = replace(
        past,
        report=past.report and _cleaned_report(past.report),
        trouble=past.trouble and replace(past.trouble, message=clean(past.trouble.message)),
    )
    writing.connection.execute(_INSERTING.alone, _row(kept, submission))
    for seq, (at, entry) in enumerate(lines, 1):
        _write_journal(writing, past.id, seq, [_cleaned(entry)], at)
    writing.tell(past.id, Subject.FACT)


def _row(operation: Operation, submission: Submission) -> dict[str, object]:
    request = operation.request
    return {
        "type": request.type.value,
        "request": json.dumps(request_to_json(request), ensure_ascii=True),
        "payload_hash": payload_hash(submission),
        "prompt_key": prompt_key(submission),
        "project_id": request.project_id,
        "cwd": request.cwd,
        "sandbox": sandbox_of(request).value,
        "due_at": due_at(submission.priority, operation.created_at),
        **columns_of(operation),
    }


# --- Moving ------------------------------------------------------------------------------------


def record(
    writing: Writing,
    operation: Operation,
    *facts: Fact,
    entries: Sequence[Entry] = (),
    heard: bool = False,
    token_usage: TokenUsage | None = None,
    goal: GoalProgress | None = None,
    only_wanted: bool = False,
) -> Operation:
    """Write down what happened to `operation`: facts (each with a journal entry) and `entries`.

    `operation` is what the caller last saw; its generation is the fence. Journal entries come
    before the facts: they happened earlier. `heard` says that Codex gave a sign of life.

    From here to the end of the transaction the row is the caller's: who writes of nothing else
    needs no pen, and what it reads afterwards stays so.

    Raises Fenced when the row has moved on without the caller, or with `only_wanted` when somebody
    wants the operation to end; Outdated when this release cannot use the book any more,
    IllegalTransition when the table does not allow a fact.
    """
    moved = operation
    lines = [_cleaned(entry) for entry in entries]
    status_seq = operation.status_seq
    for fact in facts:
        before = moved.status
        moved = apply(moved, fact, writing.now)
        lines.append(_cleaned(Entry(Category.STATE, sentence(fact))))
        if moved.status is not before:
            status_seq = operation.last_seq + len(lines)
    moved = replace(
        moved,
        report=moved.report and _cleaned_report(moved.report),
        trouble=moved.trouble and replace(moved.trouble, message=clean(moved.trouble.message)),
        last_seq=operation.last_seq + len(lines),
        status_seq=status_seq,
        updated_at=max(writing.now, operation.updated_at),
        heard_at=writing.now if heard else moved.heard_at,
        token_usage=token_usage or moved.token_usage,
        goal=goal or moved.goal,
    )
    row = columns_of(moved)
    seen = {
        "seen_id": operation.id,
        "seen_generation": operation.generation,
        "seen_status": operation.status.value,
        "seen_last_seq": operation.last_seq,
        "known_edition": released()[-1].number,
    }
    try:
        statements = _MOVING_IF_WANTED if only_wanted else _MOVING
        _with_journal(writing, statements, row, moved, lines, seen)
    except Fenced:
        check_usable(writing.connection.scalar(USABLE_FROM) or 0, released())
        raise
    writing.is_usable = True
    writing.tell(operation.id, Subject.FACT)
    if moved.is_final:
        writing.tell(operation.id, Subject.QUEUE)
        if writing.outbox is not None and not operation.is_final:
            writing.outbox.ended(writing, moved)
    return moved


def adopt(writing: Writing, generation: Generation) -> list[Operation]:
    """Take over everything unfinished that an earlier generation had claimed on this host.

    Raises Replaced when another worker owns it by now.
    """
    must_own(writing, generation)
    rows = writing.connection.execute(
        _LEFT_BEHIND, {"generation": generation, "host": writing.host}
    )
    return [record(writing, operation_of(row), Adopted(generation)) for row in rows.all()]


def held(writing: Writing, ids: Sequence[OperationId]) -> list[Operation]:
    """Those of `ids` that exist, in the order given, as they are and stay until this transaction
    ends: whoever drives one of them waits."""
    return in_order(writing.connection, _HELD, ids)


def must_own(writing: Writing, generation: Generation) -> None:
    """The fence before rows that are nobody's yet: those in the queue.

    Raises Replaced when another worker of this host owns them by now.
    """
    owner = workers.latest(writing.connection, writing.host)
    if owner is None or owner.generation != generation:
        raise Replaced(f"generation {generation} does not own what is on this host")


def _with_journal(
    writing: Writing,
    statements: "_Statements",
    row: dict[str, object],
    operation: Operation,
    lines: Sequence[Entry],
    seen: dict[str, object] | None = None,
) -> None:
    """Write a row and the last lines of its journal. Raises Fenced when there is no such row."""
    connection, first_seq = writing.connection, operation.last_seq - len(lines) + 1
    if lines and connection.dialect.name == "postgresql":
        # One way there and back: whoever waits for the row waits as long as that takes.
        new = {f"new_{name}": value for name, value in row.items()}
        written = {
            "ats": [writing.now if line.at is None else line.at for line in lines],
            "seqs": [*range(first_seq, operation.last_seq + 1)],
            "categories": [line.category.value for line in lines],
            "texts": [line.text for line in lines],
            "item_ids": [line.item_id for line in lines],
        }
        done = connection.execute(statements.with_journal, {**new, **written, **(seen or {})})
        if done.rowcount != len(lines):
            raise Fenced(operation.id)
        return
    if connection.execute(statements.alone, {**row, **(seen or {})}).rowcount != 1:
        raise Fenced(operation.id)
    _write_journal(writing, operation.id, first_seq, lines)


def _write_journal(
    writing: Writing,
    operation_id: OperationId,
    first_seq: int,
    entries: Sequence[Entry],
    at: Moment | None = None,
) -> None:
    now = writing.now if at is None else at
    if entries:
        writing.connection.execute(
            _INSERT_ENTRY,
            [
                {
                    "operation_id": operation_id,
                    "seq": seq,
                    "at": now if entry.at is None else entry.at,
                    "category": entry.category.value,
                    "text": entry.text,
                    "item_id": entry.item_id,
                }
                for seq, entry in enumerate(entries, first_seq)
            ],
        )


#: PostgreSQL stores no NUL, and no database a lone surrogate. Commands print the former.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(text: str) -> str:
    """`text` as it may be stored: without secrets, and without what cannot be stored."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", redact(text))


def _cleaned(entry: Entry) -> Entry:
    return replace(entry, text=clean(entry.text))


def _cleaned_report(report: Report) -> Report:
    plan = report.plan and replace(report.plan, markdown=clean(report.plan.markdown))
    text = clean(report.text)
    if report.structured is StructuredStatus.VALID and text != report.text:
        # A mask may swallow quotes; what is JSON must stay JSON.
        text = json.dumps(redact_json(json.loads(report.text)), ensure_ascii=False)
    return replace(report, text=text, plan=plan)


# --- Statements --------------------------------------------------------------------------------
# Made once: to make one takes SQLAlchemy longer than SQLite needs to answer it.

_ROWS = operations.c
_KEY: ColumnElement[str] = bindparam("key")

_INSERT_ENTRY = insert(journal)
#: The request never changes.
_FIXED = {"type", "request", "payload_hash", "prompt_key", "project_id", "cwd", "sandbox", "due_at"}


@dataclass(frozen=True, slots=True)
class _Statements:
    """A row that is written, by itself and together with lines of its journal."""

    alone: Insert | Update
    #: PostgreSQL only. It writes no line where it writes no row.
    with_journal: Insert


def _statements(alone: Insert | Update, fixed: Collection[str] = ()) -> _Statements:
    new = {
        column.name: bindparam(f"new_{column.name}", type_=column.type)
        for column in operations.columns
        if column.name not in fixed
    }
    row = alone.values(new).returning(_ROWS.id).cte("row")
    lines = (
        func.unnest(
            bindparam("seqs", type_=ARRAY(BigInteger)),
            bindparam("ats", type_=ARRAY(BigInteger)),
            bindparam("categories", type_=ARRAY(Text)),
            bindparam("texts", type_=ARRAY(Text)),
            bindparam("item_ids", type_=ARRAY(Text)),
        )
        .table_valued("seq", "at", "category", "text", "item_id", name="line")
        .render_derived()
    )
    written = select(
        row.c.id,
        lines.c.seq,
        lines.c.at,
        lines.c.category,
        lines.c.text,
        lines.c.item_id,
    ).select_from(row.join(lines, true()))
    into = ["operation_id", "seq", "at", "category", "text", "item_id"]
    together = insert(journal).from_select(into, written)
    return _Statements(alone, together.execution_options(preserve_rowcount=True))


_INSERTING = _statements(insert(operations))
#: PostgreSQL only: needs no savepoint.
_INSERTING_UNLESS_THERE = _statements(postgresql.insert(operations).on_conflict_do_nothing())
#: Only of the row as it was last seen: by the same worker, in the same state; and in a book that
#: this release can use. Who was out of reach may come back to another one.
_MOVE = update(operations).where(
    _ROWS.id == bindparam("seen_id"),
    _ROWS.generation == bindparam("seen_generation"),
    _ROWS.status == bindparam("seen_status"),
    _ROWS.last_seq == bindparam("seen_last_seq"),
    USABLE_FROM.scalar_subquery() <= bindparam("known_edition"),
)
_MOVING = _statements(_MOVE, _FIXED)
_MOVING_IF_WANTED = _statements(
    _MOVE.where(
        ~select(wishes.c.id)
        .where(wishes.c.operation_id == bindparam("seen_id"), WANTS_END)
        .exists()
    ),
    _FIXED,
)
_LEFT_BEHIND = (
    ALL.where(
        UNFINISHED,
        NOT_QUEUED,
        _ROWS.host == bindparam("host"),
        _ROWS.generation < bindparam("generation"),
    )
    .order_by(_ROWS.id)
    .with_for_update(key_share=True)
)
_HOSTS = select(_ROWS.host, hosts.c.forgotten_at).outerjoin(hosts, hosts.c.id == _ROWS.host)
_HOST_OF_THREAD = (
    _HOSTS.where(_ROWS.thread_id == _KEY, _ROWS.host.is_not(None))
    .order_by(_ROWS.created_at.desc())
    .limit(1)
)
_HOST_OF_WORKFLOW = (
    _HOSTS.where(_ROWS.workflow_id == _KEY, _ROWS.workflow_id.is_not(None), _ROWS.host.is_not(None))
    .order_by(_ROWS.created_at.desc())
    .limit(1)
)

#: By id, as everybody who takes several rows: so no two wait for each other.
_HELD = AMONG.order_by(_ROWS.id).with_for_update(key_share=True)
