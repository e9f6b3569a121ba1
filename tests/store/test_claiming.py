"""The queue: what may start is taken by one worker, and no limit is passed by two of them."""

from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import Generation, ThreadId
from codex_control_plane_mcp.model.operation import Claimed, Failed, Status
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import Priority
from codex_control_plane_mcp.model.schedule import Limits, Verdict
from codex_control_plane_mcp.store import operations
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.operations import Fenced
from tests.model.lives import BOUND, TROUBLE
from tests.store.actors import Desk
from tests.store.actors import desk as desk_at


def claim(desk: Desk, generation: Generation, limits: Limits | None = None) -> Verdict:
    return desk.write(lambda writing: operations.claim(writing, generation, limits or Limits()))


def test_what_starts_is_the_workers_and_the_rest_stays_in_the_queue(desk: Desk) -> None:
    me = desk.enter()
    first, second = desk.submit(), desk.submit()
    urgent = desk.submit(desk.submission(priority=Priority.HIGH))
    verdict = claim(desk, me, Limits(everywhere=2))
    assert verdict.start[0] == urgent.id
    assert len(verdict.start) == 2
    started = {desk.get(id_).id for id_ in verdict.start}
    for id_ in started:
        assert desk.get(id_).status is Status.STARTING_THREAD
        assert desk.get(id_).generation == me
        assert desk.journal(id_) == ["Queued.", "Taken from the queue."]
    (left,) = {first.id, second.id} - started
    assert desk.get(left).status is Status.QUEUED
    assert verdict.waiting[left].position == 1


def test_a_slot_is_free_again_once_its_operation_has_ended(desk: Desk) -> None:
    me, limits = desk.enter(), Limits(everywhere=1)
    desk.submit()
    desk.clock.move(1)
    desk.submit()
    (first,) = claim(desk, me, limits).start
    assert claim(desk, me, limits).start == ()
    desk.record(desk.get(first), Failed(TROUBLE))
    (second,) = claim(desk, me, limits).start
    assert second != first
    assert claim(desk, me, limits).start == ()


def test_every_limit_is_kept_over_what_runs_and_what_waits(desk: Desk) -> None:
    me = desk.enter()
    for _ in range(4):
        desk.submit(desk.submission(sandbox=Sandbox.WORKSPACE_WRITE))
        desk.submit(desk.submission(agent="ann", project="garden"))
        desk.submit(desk.submission(thread="thread-7", project="shed"))
    limits = Limits(everywhere=9, per_project=9, per_agent=2, writing_per_project=1)
    for _ in range(3):
        claim(desk, me, limits)
    jobs = desk.read(operations.active_jobs)
    assert sorted(job.project_id for job in jobs) == ["garden", "garden", "house", "shed"]
    assert len(desk.read(operations.queued_jobs)) == 8


def test_an_older_generation_claims_nothing(desk: Desk) -> None:
    former = desk.enter()
    desk.enter()
    operation = desk.submit()
    with pytest.raises(Fenced):
        claim(desk, former)
    assert desk.get(operation.id) == operation


def test_nobody_claims_before_entering(desk: Desk) -> None:
    operation = desk.submit()
    with pytest.raises(Fenced):
        claim(desk, Generation(1))
    assert desk.get(operation.id) == operation


def test_two_who_claim_at_the_same_moment_decide_one_after_the_other(desk: Desk) -> None:
    """Else neither would see what the other is about to start, and together they would pass the
    limits, though no row is touched by both."""
    me = desk.enter()

    with desk_at(desk.where, lock_wait_seconds=0.2) as beside:

        def work(writing: Writing) -> None:
            operations.claim(writing, me, Limits())
            with pytest.raises(StateBusy, match="another process holds"):
                claim(beside, me)

        desk.write(work)
        desk.submit()
        assert len(claim(beside, me).start) == 1


def test_a_second_started_operation_in_a_thread_is_refused_even_to_a_hand(desk: Desk) -> None:
    first = desk.submit(desk.submission(thread="thread-1"))
    second = desk.submit(desk.submission(thread="thread-1"))
    desk.record(first, Claimed(Generation(1)))
    started = "UPDATE operations SET status = 'starting_thread', started_at = 1 WHERE id = :id"
    with pytest.raises(IntegrityError):
        desk.sql(started, id=second.id)
    with pytest.raises(IntegrityError):
        desk.record(second, Claimed(Generation(1)))
    assert desk.get(second.id) == second


def test_a_second_operation_cannot_be_bound_to_a_thread_in_use(desk: Desk) -> None:
    desk.record(desk.submit(), Claimed(Generation(1)), BOUND)
    other = desk.record(desk.submit(), Claimed(Generation(1)))
    with pytest.raises(IntegrityError):
        desk.record(other, BOUND)
    bound = desk.record(other, replace(BOUND, thread_id=ThreadId("thread-2")))
    assert desk.get(other.id) == bound


def test_a_turn_may_be_steered_while_it_runs(desk: Desk) -> None:
    me = desk.enter()
    desk.record(desk.submit(), Claimed(me), BOUND)
    steering = desk.submit(desk.steering("Faster, please."))
    assert claim(desk, me, Limits(everywhere=1)).start == (steering.id,)


def test_a_thread_is_free_again_once_its_operation_has_ended(desk: Desk) -> None:
    desk.record(desk.submit(), Claimed(Generation(1)), BOUND, Failed(TROUBLE))
    desk.record(desk.submit(), Claimed(Generation(1)), BOUND)
