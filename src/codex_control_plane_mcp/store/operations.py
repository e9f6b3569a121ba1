"""The pen: the only code that makes an operation, moves it, or writes its journal.

A state never changes without its journal entry, nor outside the transition table, nor by a worker
whose generation is not the one on record: all three in one UPDATE and one transaction.
"""

import json
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Insert,
    Row,
    Select,
    Text,
    Update,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from codex_control_plane_mcp import tracing
from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import (
    NOBODY,
    AppServerId,
    Generation,
    HostId,
    OperationId,
    ProjectId,
    ThreadId,
    TurnId,
    WorkflowId,
)
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Adopted,
    Fact,
    GoalProgress,
    IllegalTransition,
    Intent,
    Operation,
    Plan,
    Policy,
    Report,
    Status,
    StructuredStatus,
    TokenUsage,
    Trouble,
    Worktree,
    apply,
    sentence,
)
from codex_control_plane_mcp.model.request import (
    LocalImage,
    OperationType,
    Submission,
    TurnOptions,
    attachments_of,
    options_of,
    payload_hash,
    prompt_key,
    request_from_json,
    request_to_json,
    sandbox_of,
)
from codex_control_plane_mcp.model.schedule import due_at
from codex_control_plane_mcp.redact import redact, redact_json
from codex_control_plane_mcp.store import workers
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.editions import USABLE_FROM, check_usable, released
from codex_control_plane_mcp.store.schema import journal, operations, wishes
from codex_control_plane_mcp.store.wishes import WANTS_END

_Row: TypeAlias = Row[Any]

#: Partial indexes are used only when their condition stands in the query to the letter.
_UNFINISHED = operations.c.completed_at.is_(None)
_NOT_QUEUED: ColumnElement[bool] = literal_column("status <> 'queued'")


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
    were the pictures on its disk."""
    request = submission.request
    if thread := getattr(request, "thread_id", None) or getattr(request, "source_thread_id", None):
        return writing.connection.scalar(_HOST_OF_THREAD, {"key": thread}) or writing.host
    if any(isinstance(one, LocalImage) for one in attachments_of(request)):
        return writing.host
    worked = None
    if submission.workflow_id is not None:
        worked = writing.connection.scalar(_HOST_OF_WORKFLOW, {"key": submission.workflow_id})
    return worked or submission.placement.host


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
        **_columns(operation),
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
    row = _columns(moved)
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
    return [record(writing, _operation(row), Adopted(generation)) for row in rows.all()]


def held(writing: Writing, ids: Sequence[OperationId]) -> list[Operation]:
    """Those of `ids` that exist, in the order given, as they are and stay until this transaction
    ends: whoever drives one of them waits."""
    return _in_order(writing.connection, _HELD, ids)


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


# --- Reading -----------------------------------------------------------------------------------


def get(connection: Connection, operation_id: OperationId) -> Operation | None:
    return _one(connection, _BY_ID, operation_id)


def by_client_request(
    connection: Connection, client_request_id: str
) -> tuple[Operation, str] | None:
    """The operation that this `client_request_id` made, and the hash of its payload."""
    row = connection.execute(_BY_CLIENT_REQUEST, {"key": client_request_id}).one_or_none()
    return None if row is None else (_operation(row), row.payload_hash)


def unfinished_with_prompt(connection: Connection, key: str) -> Operation | None:
    return _one(connection, _UNFINISHED_WITH_PROMPT, key)


def by_turn(connection: Connection, thread_id: ThreadId, turn_id: TurnId) -> Operation | None:
    """The operation whose turn it is; not those that only steered it."""
    row = connection.execute(_BY_TURN, {"thread": thread_id, "turn": turn_id}).one_or_none()
    return None if row is None else _operation(row)


def newest_in_thread(connection: Connection, thread_id: ThreadId) -> Operation | None:
    """The operation that last touched a thread: it knows where the thread works."""
    return _one(connection, _NEWEST_IN_THREAD, thread_id)


def options_in_thread(connection: Connection, thread_id: ThreadId) -> TurnOptions | None:
    """How the newest turn of a thread was asked to run; None where none of ours was."""
    newest = _one(connection, _NEWEST_WITH_OPTIONS, thread_id)
    return None if newest is None else options_of(newest.request)


def many(connection: Connection, ids: Sequence[OperationId]) -> list[Operation]:
    """Those of `ids` that exist, in the order given."""
    return _in_order(connection, _AMONG, ids)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an operation has come; a change of it is worth waking somebody."""

    status: Status
    last_seq: int
    status_seq: int


def marks(connection: Connection, ids: Sequence[OperationId]) -> dict[OperationId, Mark]:
    """The marks of those of `ids` that exist: a few columns, for those who only wait."""
    rows = connection.execute(_MARKS, {"ids": ids})
    return {
        id_: Mark(_STATUSES[status], last_seq, status_seq)
        for id_, status, last_seq, status_seq in rows
    }


def every(connection: Connection) -> list[Operation]:
    """The whole book, oldest first: for checks of small ones."""
    return [_operation(row) for row in connection.execute(_SELECT.order_by(operations.c.id))]


def unfinished(connection: Connection) -> list[Operation]:
    return [_operation(row) for row in connection.execute(_ALL_UNFINISHED)]


def owned(connection: Connection, generation: Generation) -> list[Operation]:
    """What the worker of a generation has claimed or taken over, and not ended."""
    return [_operation(row) for row in connection.execute(_OWNED, {"generation": generation})]


def recent_troubles(connection: Connection, limit: int) -> list[Operation]:
    """The operations that last ended badly, newest first."""
    return [_operation(row) for row in connection.execute(_TROUBLED, {"most": limit})]


def projects(connection: Connection) -> list[tuple[ProjectId, str, Moment]]:
    """Every project that had an operation: id, and of the one that was submitted last the folder
    and when it was last touched; newest first."""
    rows = connection.execute(_PROJECTS)
    return [(row.project_id, row.cwd, row.updated_at) for row in rows]


def _in_order(
    connection: Connection, query: Select[Any], ids: Sequence[OperationId]
) -> list[Operation]:
    rows = connection.execute(query, {"ids": ids}) if ids else ()
    found = {row.id: _operation(row) for row in rows}
    return [found[id_] for id_ in ids if id_ in found]


def _one(connection: Connection, query: Select[Any], key: str) -> Operation | None:
    row = connection.execute(query, {"key": key}).one_or_none()
    return None if row is None else _operation(row)


# --- Statements --------------------------------------------------------------------------------
# Made once: to make one takes SQLAlchemy longer than SQLite needs to answer it.

_COLUMNS = operations.c
_SELECT: Select[Any] = select(operations)
_AMONG_IDS = _COLUMNS.id.in_(bindparam("ids", expanding=True))
_KEY: ColumnElement[str] = bindparam("key")
_TAKES_TURN: ColumnElement[bool] = literal_column("type <> 'steer_turn'")

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
    row = alone.values(new).returning(_COLUMNS.id).cte("row")
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
    _COLUMNS.id == bindparam("seen_id"),
    _COLUMNS.generation == bindparam("seen_generation"),
    _COLUMNS.status == bindparam("seen_status"),
    _COLUMNS.last_seq == bindparam("seen_last_seq"),
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
    _SELECT.where(
        _UNFINISHED,
        _NOT_QUEUED,
        _COLUMNS.host == bindparam("host"),
        _COLUMNS.generation < bindparam("generation"),
    )
    .order_by(_COLUMNS.id)
    .with_for_update(key_share=True)
)
_ALL_UNFINISHED = _SELECT.where(_UNFINISHED).order_by(_COLUMNS.created_at)
_TROUBLED = (
    _SELECT.where(_COLUMNS.trouble_code.is_not(None))
    .order_by(_COLUMNS.updated_at.desc())
    .limit(bindparam("most"))
)
_OWNED = _SELECT.where(_UNFINISHED, _NOT_QUEUED, _COLUMNS.generation == bindparam("generation"))
_HOST_OF_THREAD = (
    select(_COLUMNS.host)
    .where(_COLUMNS.thread_id == _KEY, _COLUMNS.host.is_not(None))
    .order_by(_COLUMNS.created_at.desc())
    .limit(1)
)
_HOST_OF_WORKFLOW = (
    select(_COLUMNS.host)
    .where(
        _COLUMNS.workflow_id == _KEY, _COLUMNS.workflow_id.is_not(None), _COLUMNS.host.is_not(None)
    )
    .order_by(_COLUMNS.created_at.desc())
    .limit(1)
)

_BY_ID = _SELECT.where(_COLUMNS.id == _KEY)
_AMONG = _SELECT.where(_AMONG_IDS)
#: By id, as everybody who takes several rows: so no two wait for each other.
_HELD = _AMONG.order_by(_COLUMNS.id).with_for_update(key_share=True)
_BY_CLIENT_REQUEST = _SELECT.where(_COLUMNS.client_request_id == _KEY)
_UNFINISHED_WITH_PROMPT = _SELECT.where(_COLUMNS.prompt_key == _KEY, _UNFINISHED)
_NEWEST_IN_THREAD = (
    _SELECT.where(_COLUMNS.thread_id == _KEY).order_by(_COLUMNS.created_at.desc()).limit(1)
)
_NEWEST_WITH_OPTIONS = _NEWEST_IN_THREAD.where(
    literal_column(
        "type IN ('start_chat', 'send_message', 'execute_plan', 'fork_thread', 'review')"
    )
)
_BY_TURN = (
    _SELECT.where(
        _COLUMNS.thread_id == bindparam("thread"),
        _COLUMNS.turn_id == bindparam("turn"),
        _TAKES_TURN,
    )
    .order_by(_COLUMNS.created_at.desc())
    .limit(1)
)
_MARKS = select(_COLUMNS.id, _COLUMNS.status, _COLUMNS.last_seq, _COLUMNS.status_seq).where(
    _AMONG_IDS
)

#: From one project to the next along the index: the number of operations does not matter.
_PROJECTS = text(
    """WITH RECURSIVE known (project_id) AS (
        SELECT min(project_id) FROM operations
        UNION ALL
        SELECT (SELECT min(project_id) FROM operations WHERE project_id > known.project_id)
        FROM known WHERE known.project_id IS NOT NULL
    )
    SELECT last.project_id, last.cwd, last.updated_at
    FROM known JOIN operations AS last ON last.id = (
        SELECT id FROM operations WHERE project_id = known.project_id
        ORDER BY created_at DESC LIMIT 1
    )
    ORDER BY last.updated_at DESC
    """
)

_STATUSES = {status.value: status for status in Status}


# --- Rows and values ---------------------------------------------------------------------------


def _columns(operation: Operation) -> dict[str, object]:
    """What may change in the life of an operation, and its names. The request never changes."""
    intent, report, trouble = operation.intent, operation.report, operation.trouble
    plan = report and report.plan
    return {
        "id": operation.id,
        "client_request_id": operation.client_request_id,
        "agent_id": operation.agent_id or "",
        "resource_keys": json.dumps(operation.resource_keys),
        "workflow_id": operation.workflow_id,
        "priority": operation.priority,
        "status": operation.status.value,
        "created_at": operation.created_at,
        "updated_at": operation.updated_at,
        "started_at": operation.started_at,
        "completed_at": operation.completed_at,
        "thread_id": operation.thread_id,
        "turn_id": operation.turn_id,
        "app_server_id": operation.app_server_id,
        "intent_attempt": intent and intent.attempt,
        "intent_message_id": intent and intent.client_message_id,
        "intent_last_turn_id": intent and intent.last_turn_id,
        "worktree": _dumped(operation.worktree),
        "policy": _dumped(operation.policy),
        "report_text": report and report.text,
        "report_turn_id": report and report.turn_id,
        "plan_item_id": plan and plan.item_id,
        "plan_markdown": plan and plan.markdown,
        "structured_status": report and report.structured,
        "trouble_code": trouble and trouble.code,
        "trouble_message": trouble and trouble.message,
        "token_usage": _dumped(operation.token_usage),
        "goal": _dumped(operation.goal),
        "heard_at": operation.heard_at,
        "last_seq": operation.last_seq,
        "status_seq": operation.status_seq,
        "generation": operation.generation,
        "host": operation.host,
        "host_labels": json.dumps(operation.host_labels),
        "checkout": operation.checkout,
    }


def _operation(row: _Row) -> Operation:
    return Operation(
        id=row.id,
        request=request_from_json(json.loads(row.request)),
        client_request_id=row.client_request_id,
        agent_id=row.agent_id or None,
        priority=row.priority,
        resource_keys=tuple(json.loads(row.resource_keys)),
        workflow_id=WorkflowId(row.workflow_id) if row.workflow_id else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
        status=_STATUSES[row.status],
        started_at=row.started_at,
        completed_at=row.completed_at,
        thread_id=row.thread_id,
        turn_id=row.turn_id,
        app_server_id=AppServerId(row.app_server_id) if row.app_server_id else None,
        intent=_intent(row),
        worktree=Worktree(**json.loads(row.worktree)) if row.worktree else None,
        policy=Policy(**json.loads(row.policy)) if row.policy else None,
        report=_report(row),
        trouble=None
        if row.trouble_code is None
        else Trouble(row.trouble_code, row.trouble_message),
        token_usage=TokenUsage(**json.loads(row.token_usage)) if row.token_usage else None,
        goal=GoalProgress(**json.loads(row.goal)) if row.goal else None,
        heard_at=row.heard_at,
        last_seq=row.last_seq,
        status_seq=row.status_seq,
        generation=Generation(row.generation) if row.generation else NOBODY,
        host=row.host,
        host_labels=tuple(json.loads(row.host_labels)),
        checkout=row.checkout,
    )


def _report(row: _Row) -> Report | None:
    if row.report_text is None:
        return None
    plan = None if row.plan_item_id is None else Plan(row.plan_item_id, row.plan_markdown)
    structured = StructuredStatus(row.structured_status) if row.structured_status else None
    return Report(row.report_text, row.report_turn_id, plan, structured)


def _intent(row: _Row) -> Intent | None:
    if row.intent_attempt is None:
        return None
    return Intent(row.intent_attempt, row.intent_message_id, row.intent_last_turn_id)


def _dumped(value: Worktree | Policy | TokenUsage | GoalProgress | None) -> str | None:
    return None if value is None else json.dumps(asdict(value), separators=(",", ":"))


# --- Pages ---------------------------------------------------------------------------------------


def newest(
    connection: Connection,
    limit: int,
    *,
    before: OperationId | None = None,
    thread_id: ThreadId | None = None,
    project_id: str | None = None,
    statuses: Collection[Status] = (),
) -> list[Operation]:
    """The operations (of one thread, project or kind of status, or all) that were submitted last,
    or last before another: newest first. Their ids sort by that time."""
    query = _SELECT.order_by(_COLUMNS.id.desc()).limit(limit)
    if before is not None:
        query = query.where(_COLUMNS.id < before)
    if thread_id is not None:
        query = query.where(_COLUMNS.thread_id == thread_id)
    if project_id is not None:
        query = query.where(_COLUMNS.project_id == project_id)
    if statuses:
        query = query.where(_COLUMNS.status.in_([status.value for status in statuses]))
    return [_operation(row) for row in connection.execute(query)]


def ended_last(connection: Connection, limit: int) -> list[Operation]:
    """The operations that ended last, newest end first."""
    return [_operation(row) for row in connection.execute(_ENDED_LAST, {"most": limit})]


# --- What was used -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Used:
    """What one operation took, as far as it is known."""

    id: OperationId
    type: str
    project_id: str
    agent_id: str | None
    started_at: Moment
    completed_at: Moment | None
    #: Of its thread, when it was last heard of.
    tokens: TokenUsage | None
    #: Of its thread, at the end of the operation before it there.
    tokens_before: TokenUsage | None
    #: Whether it is the first of ours in its thread.
    is_first: bool


def used(connection: Connection, since: Moment) -> list[Used]:
    """What each operation that began at `since` or later took, oldest first."""
    return [
        Used(
            id=row.id,
            type=row.type,
            project_id=row.project_id,
            agent_id=row.agent_id or None,
            started_at=row.started_at,
            completed_at=row.completed_at,
            tokens=_tokens(row.token_usage),
            tokens_before=_tokens(row.tokens_before),
            is_first=row.place == 1,
        )
        for row in connection.execute(_USED, {"since": since})
    ]


def _tokens(stored: str | None) -> TokenUsage | None:
    return TokenUsage(**json.loads(stored)) if stored else None


_ENDED_LAST = (
    _SELECT.where(_COLUMNS.completed_at.is_not(None))
    .order_by(_COLUMNS.updated_at.desc(), _COLUMNS.id.desc())
    .limit(bindparam("most"))
)
#: Of those that had a turn of their own, and its tokens.
_IN_THREAD = (
    select(
        _COLUMNS.id,
        _COLUMNS.type,
        _COLUMNS.project_id,
        _COLUMNS.agent_id,
        _COLUMNS.started_at,
        _COLUMNS.completed_at,
        _COLUMNS.token_usage,
        func.lag(_COLUMNS.token_usage)
        .over(partition_by=_COLUMNS.thread_id, order_by=_COLUMNS.started_at)
        .label("tokens_before"),
        func.row_number()
        .over(partition_by=_COLUMNS.thread_id, order_by=_COLUMNS.started_at)
        .label("place"),
    )
    .where(
        _COLUMNS.started_at.is_not(None),
        _COLUMNS.token_usage.is_not(None),
        _COLUMNS.thread_id.is_not(None),
        _TAKES_TURN,
    )
    .subquery()
)
#: Those without tokens took time all the same.
_USED = union_all(
    select(_IN_THREAD).where(_IN_THREAD.c.started_at >= bindparam("since")),
    select(
        _COLUMNS.id,
        _COLUMNS.type,
        _COLUMNS.project_id,
        _COLUMNS.agent_id,
        _COLUMNS.started_at,
        _COLUMNS.completed_at,
        _COLUMNS.token_usage,
        null().label("tokens_before"),
        literal(0).label("place"),
    ).where(
        _COLUMNS.started_at >= bindparam("since"),
        or_(_COLUMNS.token_usage.is_(None), _COLUMNS.thread_id.is_(None)),
        _TAKES_TURN,
    ),
).order_by("started_at")


# --- For the search, and for what Codex's hooks tell ---------------------------------------------


def heads(connection: Connection) -> dict[OperationId, int]:
    """How far the journal of each operation has come."""
    return {row.id: row.last_seq for row in connection.execute(_HEADS)}


def maybe_of_turn(connection: Connection, thread_id: ThreadId, turn_id: TurnId) -> list[Operation]:
    """Operations that have to do with a turn, or may: whose own is not known, or not the only one,
    for a review runs in a child of its turn, and a goal in one turn after the other."""
    rows = connection.execute(_MAYBE_OF_TURN, {"thread": thread_id, "turn": turn_id})
    return [_operation(row) for row in rows]


_HEADS = select(_COLUMNS.id, _COLUMNS.last_seq)
_MAYBE_OF_TURN = _SELECT.where(
    _COLUMNS.thread_id == bindparam("thread"),
    or_(
        _COLUMNS.turn_id == bindparam("turn"),
        _COLUMNS.turn_id.is_(None),
        _COLUMNS.type.in_([OperationType.REVIEW.value, OperationType.EXECUTE_PLAN.value]),
    ),
)
