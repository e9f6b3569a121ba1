"""Scale: looking at a state of 10,000 tasks with 300,000 journal entries, beside one of 10 tasks.

Both are up at the same time and asked in turns, so that what else the machine does hits both. One
task goes through the store as in life; the others are its copies, made by the database.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import Table, text

from benchmarks.client import Answer, Client
from benchmarks.figures import Aim, Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, Stage, stage
from codex_control_plane_mcp.model.ids import (
    AppServerId,
    OperationId,
    ProjectId,
    ThreadId,
    TurnId,
    new_operation_id,
)
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Claimed,
    Completed,
    Operation,
    Policy,
    Report,
    ThreadBound,
    TurnAccepted,
    TurnIntended,
)
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import StartChat, Submission, TurnOptions
from codex_control_plane_mcp.paths import make_private_folder
from codex_control_plane_mcp.store import operations, workers
from codex_control_plane_mcp.store.book import Reading, Writing, opened
from codex_control_plane_mcp.store.schema import journal
from codex_control_plane_mcp.store.schema import operations as operations_table

FEW, MANY = 10, 10_000
#: Of each task. Its life writes five of them by itself.
EVENTS = 30
PROJECTS = 10
WARMING_UP = 20
MORE = 1.3

Look = Callable[[Client], Answer]


@dataclass(frozen=True, slots=True)
class Place:
    """A state of a certain size, and a client that looks at it."""

    client: Client
    #: The oldest first.
    ids: Sequence[OperationId]


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    count = rounds.of(300, 40)
    with ExitStack() as stack:
        few = _opened(stack, installation, FEW)
        many = _opened(stack, installation, MANY)
        for what, look_at in _LOOKS.items():
            at_few, at_many = look_at(few), look_at(many)
            pairs = [(at_few(few.client), at_many(many.client)) for _ in range(WARMING_UP + count)]
            small = [one.seconds * 1000 for one, _ in pairs[WARMING_UP:]]
            large = [one.seconds * 1000 for _, one in pairs[WARMING_UP:]]
            yield Figure(
                what=f"{what}, {MANY:,} tasks",
                unit="ms",
                ours=spread(large),
                beside=spread(small),
                beside_is=f"{FEW} tasks",
                aim=Aim(limit=MORE, words=f"{MORE} x at {FEW}"),
                judged=median(large) / median(small),
                note=f"{MANY * EVENTS:,} journal entries",
            )


def _status(place: Place) -> Look:
    id_ = place.ids[len(place.ids) // 2]
    return lambda client: client.call("codex_get_operation_status", operation_id=id_)


def _wait(place: Place) -> Look:
    ids = list(place.ids[-FEW:])
    return lambda client: client.call("codex_wait", operation_ids=ids, wait_seconds=45)


def _events(place: Place) -> Look:
    uri = f"codex://operation/{place.ids[0]}/events?after_seq={EVENTS // 2}"
    return lambda client: client.request("resources/read", {"uri": uri})


def _list(_place: Place) -> Look:
    return lambda client: client.request("resources/list", {})


def _questions(_place: Place) -> Look:
    return lambda client: client.call("codex_list_pending_interactions")


def _projects(_place: Place) -> Look:
    return lambda client: client.call("codex_list_projects")


def _health(_place: Place) -> Look:
    return lambda client: client.call("codex_health_summary")


_LOOKS: dict[str, Callable[[Place], Look]] = {
    "status": _status,
    "wait": _wait,
    "events by cursor": _events,
    "list of tasks": _list,
    "list of questions": _questions,
    "list of projects": _projects,
    "health": _health,
}


# --- A state of a certain size -------------------------------------------------------------------


def _opened(stack: ExitStack, installation: Installation, count: int) -> Place:
    place = stack.enter_context(stage(installation))
    ids = filled(place, count)
    client = stack.enter_context(place.client())
    until_indexed(client)
    return Place(client, ids)


def until_indexed(client: Client) -> None:
    """The search index of a state that came from elsewhere is made once; that is not measured."""
    while not client.call("codex_search_chats", query="anything").content["complete"]:
        pass


def filled(place: Stage, count: int) -> list[OperationId]:
    """Put so many finished tasks into a state that nobody has opened; their ids."""
    make_private_folder(str(place.state_db.parent))
    with opened(place.state_db) as book:
        first = book.write_now(lambda writing: _one(writing, place.project))[0]
        book.write_now(lambda writing: _copy(writing, first, count - 1))
        ids = book.read_now(_ids)
    assert len(ids) == count
    return ids


def _one(writing: Writing, project: Path) -> Operation:
    """A task as they are: thirty events and a report of some lines."""
    generation = workers.enter(writing, "benchmark", 1, "0")
    options = TurnOptions(Sandbox.READ_ONLY, ApprovalPolicy.ON_REQUEST)
    request = StartChat("Look around.", str(project), ProjectId("project-0"), options)
    entered = operations.insert_operation(
        writing, new_operation_id(writing.now), Submission(request)
    )
    bound = ThreadBound(
        ThreadId("thread"), AppServerId("1@x"), Policy("read-only", "on-request", "m")
    )
    begun = operations.record(
        writing, entered, Claimed(generation), bound, TurnIntended(None), TurnAccepted(TurnId("u"))
    )
    wanted = EVENTS - begun.last_seq - 1
    notes = [Entry(Category.COMMAND, f"ran command {number}: ok") for number in range(wanted)]
    report = Report("What I found.\n" * 60, TurnId("u"))
    return operations.record(writing, begun, Completed(report), entries=notes)


def _copy(writing: Writing, first: Operation, count: int) -> None:
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"  # noqa: S608
    new_id = "'op_' || printf('%012x%010x', created_at + i, i)"
    changed = {
        "id": new_id,
        "project_id": f"'project-' || (i % {PROJECTS})",
        "thread_id": "'thread-' || i",
        "created_at": "created_at + i",
        "updated_at": "updated_at + i",
        "completed_at": "completed_at + i",
    }
    writing.connection.execute(
        text(
            f"INSERT INTO operations {numbers} SELECT {_columns(operations_table, changed)}"  # noqa: S608
            " FROM operations, n WHERE id = :first"
        ),
        {"first": first.id},
    )
    moved = {"operation_id": new_id, "at": "at + i"}
    writing.connection.execute(
        text(
            f"INSERT INTO journal {numbers} SELECT {_columns(journal, moved)}"  # noqa: S608
            " FROM journal JOIN operations ON id = operation_id, n WHERE id = :first"
        ),
        {"first": first.id},
    )


def _columns(table: Table, changed: dict[str, str]) -> str:
    return ", ".join(changed.get(name, f"{table.name}.{name}") for name in table.columns.keys())  # noqa: SIM118 - no dict


def _ids(reading: Reading) -> list[OperationId]:
    rows = reading.execute(text("SELECT id FROM operations ORDER BY id"))
    return [OperationId(row.id) for row in rows]
