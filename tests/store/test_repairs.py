"""Repairs on record: wished, concluded once, and counted, over both databases."""

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import HERE, OperationId, RepairId, new_repair_id
from codex_control_plane_mcp.model.repair import (
    MOST_RUNS,
    WITHIN_SECONDS,
    Action,
    Change,
    Outcome,
    RepairRun,
    RepairScope,
    goes_round,
)
from codex_control_plane_mcp.store import repairs
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from tests.store.actors import NOON, Desk

CHANGE = Change("file", "/state", "mode 644 → 600")
SCOPE = RepairScope(operation_id=OperationId("op_1"))


def wished(desk: Desk, scope: RepairScope = SCOPE, *, dry_run: bool = False) -> RepairRun:
    def wish(writing: Writing) -> RepairRun:
        run = RepairRun(
            id=new_repair_id(writing.now),
            action=Action.INTERRUPT_TURN,
            scope=scope,
            dry_run=dry_run,
            force=True,
            made_by="anna",
            created_at=writing.now,
            plan_id=None if dry_run else RepairId("rp_0"),
        )
        repairs.wish_repair(writing, run)
        assert (Subject.REPAIR, run.id) in writing.news
        return run

    return desk.write(wish)


def concluded(desk: Desk, run: RepairRun, outcome: Outcome, result: str = "so it was") -> RepairRun:
    desk.write(lambda writing: repairs.conclude(writing, run.id, outcome, [CHANGE], result))
    found = desk.read(lambda reading: repairs.get(reading, run.id))
    assert found is not None
    return found


def test_a_wish_is_found_as_it_was_made(desk: Desk) -> None:
    run = wished(desk)

    assert desk.read(lambda reading: repairs.open_runs(reading, HERE)) == [run]
    assert desk.read(lambda reading: repairs.get(reading, run.id)) == run
    assert desk.read(lambda reading: repairs.get(reading, RepairId("rp_x"))) is None


def test_what_came_of_it_is_said_once(desk: Desk) -> None:
    run = wished(desk)
    done = concluded(desk, run, Outcome.APPLIED, "with sk-" + "a" * 40)

    assert (done.outcome, done.changes, done.result) == (
        Outcome.APPLIED,
        (CHANGE,),
        "with [redacted]",
    )
    assert concluded(desk, run, Outcome.FAILED) == done, "the first end stays"
    assert desk.read(lambda reading: repairs.open_runs(reading, HERE)) == []
    assert desk.read(lambda reading: repairs.newest(reading, 5)) == [done]


def test_only_what_was_really_done_to_the_same_is_counted(desk: Desk) -> None:
    done = concluded(desk, wished(desk), Outcome.APPLIED)
    concluded(desk, wished(desk, RepairScope()), Outcome.APPLIED)
    concluded(desk, wished(desk, dry_run=True), Outcome.PLANNED)
    concluded(desk, wished(desk), Outcome.NOTHING_TO_DO)
    concluded(desk, wished(desk), Outcome.REFUSED)
    cut_off = concluded(desk, wished(desk), Outcome.UNKNOWN)
    present = wished(desk)

    counted = desk.read(lambda reading: repairs.done_before(reading, present, 10))

    assert counted == [cut_off, done]


def test_a_round_is_one_too_many_within_the_time(desk: Desk) -> None:
    runs = [concluded(desk, wished(desk), Outcome.APPLIED) for _ in range(MOST_RUNS)]

    assert goes_round(runs[1:], NOON) is None
    why = goes_round(runs, NOON)
    assert why is not None
    assert f"wait {WITHIN_SECONDS:.0f} s" in why
    assert goes_round(runs, Moment(NOON + round(WITHIN_SECONDS * 1000))) is None
