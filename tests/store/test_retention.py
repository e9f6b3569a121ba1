"""Old journal entries go, and the journal says which; what a task is and what came of it stays."""

from __future__ import annotations

import pytest

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.journal import Category, Entry, Written
from codex_control_plane_mcp.model.operation import Claimed, Operation
from codex_control_plane_mcp.store import journal, lookup, operations, retention
from codex_control_plane_mcp.store.retention import GAP_BYTES, Pruned, journal_bytes, prune
from tests.model.lives import ACCEPTED, BOUND, COMPLETED, INTENDED
from tests.store.actors import Desk

DAY = 86_400


def noted(desk: Desk, operation: Operation, *texts: str) -> Operation:
    entries = [Entry(Category.COMMAND, text) for text in texts]
    return desk.write(lambda writing: operations.record(writing, operation, entries=entries))


def begun(desk: Desk, client_request_id: str | None = None) -> Operation:
    operation = desk.submit(desk.submission(client_request_id=client_request_id))
    return desk.record(operation, Claimed(desk.enter()), BOUND, INTENDED, ACCEPTED)


def ended(desk: Desk, client_request_id: str | None = None) -> Operation:
    operation = noted(desk, begun(desk, client_request_id), *("x" * 200 for _ in range(3)))
    return desk.record(operation, COMPLETED)


def entries(desk: Desk, operation_id: OperationId, after: int = 0) -> list[Written]:
    return desk.read(lambda reading: journal.after(reading, operation_id, after, 10_000))


def pruned(
    desk: Desk,
    *,
    older_than: Moment | None = None,
    keep_bytes: int | None = None,
    dry_run: bool = False,
) -> Pruned:
    return prune(desk.book, older_than=older_than, keep_bytes=keep_bytes, dry_run=dry_run)


def test_an_old_journal_becomes_one_entry_that_says_so(desk: Desk) -> None:
    operation = ended(desk, client_request_id="r-1")
    before = entries(desk, operation.id)
    desk.clock.move(DAY)

    done = pruned(desk, older_than=desk.clock.now())

    (gap,) = entries(desk, operation.id)
    assert (gap.seq, gap.category) == (operation.last_seq, Category.GAP)
    assert gap.text == f"Entries 1 to {operation.last_seq} were removed."
    assert gap.at == before[-1].at
    assert (done.operations, done.entries) == (1, len(before))
    assert desk.get(operation.id) == operation
    found = desk.read(lambda reading: lookup.by_client_request(reading, "r-1"))
    assert found is not None
    assert found[0] == operation


def test_the_younger_entries_stay_behind_the_gap(desk: Desk) -> None:
    operation = noted(desk, begun(desk), "a" * 200, "b" * 200)
    last_old = operation.last_seq
    desk.clock.move(DAY)
    between = desk.clock.now()
    operation = noted(desk, operation, "c" * 200)
    operation = desk.record(operation, COMPLETED)

    pruned(desk, older_than=between)

    written = entries(desk, operation.id)
    assert [one.seq for one in written] == list(range(last_old, operation.last_seq + 1))
    assert [one.category for one in written[:2]] == [Category.GAP, Category.COMMAND]
    # Whoever had read a part of what is gone meets the gap; whoever had read on misses nothing.
    assert entries(desk, operation.id, after=2)[0].category is Category.GAP
    assert entries(desk, operation.id, after=last_old) == written[1:]

    desk.clock.move(DAY)
    pruned(desk, older_than=desk.clock.now())
    (gap,) = entries(desk, operation.id)
    assert gap.text == f"Entries 1 to {operation.last_seq} were removed."


def test_doing_it_again_does_nothing(desk: Desk) -> None:
    ended(desk)
    desk.clock.move(DAY)
    first = pruned(desk, older_than=desk.clock.now())
    again = pruned(desk, older_than=desk.clock.now(), keep_bytes=0)
    assert (again.operations, again.entries, again.bytes) == (0, 0, 0)
    assert again.bytes_left <= first.bytes_left


def test_what_runs_is_left_alone(desk: Desk) -> None:
    operation = noted(desk, begun(desk), "x" * 500)
    before = entries(desk, operation.id)
    desk.clock.move(DAY)
    done = pruned(desk, older_than=desk.clock.now(), keep_bytes=0)
    assert done.entries == 0
    assert entries(desk, operation.id) == before


def test_for_size_those_that_ended_first_go_first_and_no_more_than_needed(desk: Desk) -> None:
    lives = []
    for _ in range(4):
        lives.append(ended(desk))
        desk.clock.move(1)
    total = desk.read(journal_bytes)
    each = total // 4

    done = pruned(desk, keep_bytes=total - each - 100)

    assert done.operations == 2
    lengths = [len(entries(desk, one.id)) for one in lives]
    assert lengths == [1, 1, lives[2].last_seq, lives[3].last_seq]
    assert desk.read(journal_bytes) <= done.bytes_left <= total - each - 100


def test_age_and_size_count_together(desk: Desk) -> None:
    old = ended(desk)
    desk.clock.move(DAY)
    between = desk.clock.now()
    young = ended(desk)
    total = desk.read(journal_bytes)

    done = pruned(desk, older_than=between, keep_bytes=total * 6 // 10)
    assert done.operations == 1
    assert len(entries(desk, old.id)) == 1
    assert len(entries(desk, young.id)) == young.last_seq


def test_a_dry_run_says_the_same_and_changes_nothing(desk: Desk) -> None:
    operation = ended(desk)
    desk.clock.move(DAY)
    before = entries(desk, operation.id)
    would = pruned(desk, older_than=desk.clock.now(), dry_run=True)
    assert entries(desk, operation.id) == before
    assert pruned(desk, older_than=desk.clock.now()) == would
    left = desk.read(journal_bytes)
    assert left <= would.bytes_left <= left + GAP_BYTES


def test_many_are_taken_out_in_several_transactions(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 10)
    for _ in range(5):
        ended(desk)
    desk.clock.move(DAY)
    assert pruned(desk, older_than=desk.clock.now()).operations == 5
    assert desk.count("journal") == 5
