"""A task that its caller cannot name is found again by what it asks for."""

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import OperationId, new_operation_id
from codex_control_plane_mcp.model.operation import Cancelled, Operation
from codex_control_plane_mcp.model.request import Submission
from codex_control_plane_mcp.store import operations
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.repeats import ended_before, forget, newest_of, remember
from tests.store.actors import NOON, Desk, all_at_once
from tests.store.actors import desk as desk_at


def test_the_newest_operation_is_remembered(desk: Desk) -> None:
    first, second = desk.submit(), desk.submit()
    assert desk.write(lambda writing: newest_of(writing, "mend")) is None
    for operation in (first, second):
        desk.write(lambda writing, id_=operation.id: remember(writing, "mend", id_))  # type: ignore[misc]
    assert desk.write(lambda writing: newest_of(writing, "mend")) == second
    assert desk.write(lambda writing: newest_of(writing, "break")) is None


def test_of_calls_at_the_same_moment_one_makes_the_operation(desk: Desk) -> None:
    def attach(writing: Writing, submission: Submission) -> Operation:
        if (known := newest_of(writing, "mend")) is not None:
            return known
        made = operations.insert_operation(writing, new_operation_id(writing.now), submission)
        remember(writing, "mend", made.id)
        return made

    def call(_number: int) -> OperationId:
        with desk_at(desk.where) as other:
            return other.write(lambda writing: attach(writing, other.submission())).id

    assert len(set(all_at_once(8, call))) == 1
    assert desk.count("operations") == 1


def test_what_ended_long_ago_can_be_forgotten(desk: Desk) -> None:
    ended, running = desk.submit(), desk.submit()
    for key, operation in (("mend", ended), ("break", running)):
        desk.write(lambda writing, key=key, id_=operation.id: remember(writing, key, id_))  # type: ignore[misc]
    desk.write(lambda writing: operations.record(writing, ended, Cancelled()))
    later = Moment(NOON + 1)

    assert desk.read(lambda reading: ended_before(reading, NOON)) == []
    assert desk.read(lambda reading: ended_before(reading, later)) == [ended.id]
    desk.write(lambda writing: forget(writing, [ended.id]))
    assert desk.write(lambda writing: newest_of(writing, "mend")) is None
    assert desk.write(lambda writing: newest_of(writing, "break")) == running
