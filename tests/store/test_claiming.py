"""The queue: what may start is taken by one worker, and no limit is passed by two of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import Generation, OperationId, ThreadId
from codex_control_plane_mcp.model.operation import Claimed, Failed, Operation, Status
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import Priority
from codex_control_plane_mcp.model.schedule import Job, Limits, Waiting, decide
from codex_control_plane_mcp.store import operations, wishes
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.operations import Fenced
from tests.model.lives import BOUND, TROUBLE
from tests.store.actors import Desk
from tests.store.actors import desk as desk_at


def claim(
    desk: Desk, generation: Generation, limits: Limits | None = None
) -> tuple[OperationId, ...]:
    started = desk.write(lambda writing: operations.claim(writing, generation, limits or Limits()))
    assert started == [desk.get(operation.id) for operation in started]
    return tuple(operation.id for operation in started)


def why(desk: Desk, operation: Operation, limits: Limits) -> Waiting | None:
    return desk.read(lambda connection: operations.waiting(connection, operation, limits))


def test_what_starts_is_the_workers_and_the_rest_stays_in_the_queue(desk: Desk) -> None:
    me = desk.enter()
    first, second = desk.submit(), desk.submit()
    urgent = desk.submit(desk.submission(priority=Priority.HIGH))
    started = claim(desk, me, Limits(everywhere=2))
    assert started[0] == urgent.id
    assert len(started) == 2
    for id_ in started:
        assert desk.get(id_).status is Status.STARTING_THREAD
        assert desk.get(id_).generation == me
        assert desk.journal(id_) == ["Queued.", "Taken from the queue."]
    (left,) = {first.id, second.id}.difference(started)
    assert desk.get(left).status is Status.QUEUED
    assert why(desk, desk.get(left), Limits(everywhere=2)) == Waiting(
        "all turn slots are taken", position=1
    )


def test_a_slot_is_free_again_once_its_operation_has_ended(desk: Desk) -> None:
    me, limits = desk.enter(), Limits(everywhere=1)
    desk.submit()
    desk.clock.move(1)
    desk.submit()
    (first,) = claim(desk, me, limits)
    assert claim(desk, me, limits) == ()
    desk.record(desk.get(first), Failed(TROUBLE))
    (second,) = claim(desk, me, limits)
    assert second != first
    assert claim(desk, me, limits) == ()


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
        assert len(claim(beside, me)) == 1


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
    assert claim(desk, me, Limits(everywhere=1)) == (steering.id,)


def test_a_thread_is_free_again_once_its_operation_has_ended(desk: Desk) -> None:
    desk.record(desk.submit(), Claimed(Generation(1)), BOUND, Failed(TROUBLE))
    desk.record(desk.submit(), Claimed(Generation(1)), BOUND)


# --- The queue is not read whole, and yet nothing is decided otherwise ----------------------------

crowds = st.lists(
    st.fixed_dictionaries(
        {
            "project": st.sampled_from(["house", "garden"]),
            "agent": st.sampled_from([None, "ann", "bob"]),
            "thread": st.sampled_from([None, "t1", "t2"]),
            "sandbox": st.sampled_from(Sandbox),
            "priority": st.sampled_from(Priority),
        }
    ),
    max_size=9,
)
limits = st.builds(
    Limits,
    everywhere=st.integers(1, 4),
    per_project=st.integers(1, 3),
    per_agent=st.integers(1, 2),
    writing_per_project=st.integers(1, 2),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=crowds, second=crowds, limits=limits)
def test_what_starts_and_why_the_rest_waits_is_as_if_the_whole_queue_were_read(
    desk: Desk,
    first: list[dict[str, Any]],
    second: list[dict[str, Any]],
    limits: Limits,
) -> None:
    me = desk.enter()
    for one in desk.read(operations.unfinished):
        desk.record(one, Failed(TROUBLE))
    _fill(desk, first)
    claim(desk, me, limits)
    _fill(desk, second)

    queued, active = desk.read(operations.queued_jobs), desk.read(operations.active_jobs)
    expected = decide(queued, active, limits)
    for job in queued:
        assert why(desk, desk.get(job.id), limits) == expected.waiting.get(job.id)
    assert desk.read(operations.queued_count) == len(queued)
    assert claim(desk, me, limits) == expected.start


def _fill(desk: Desk, crowd: list[dict[str, Any]]) -> None:
    for one in crowd:
        desk.clock.move(1)
        desk.submit(desk.submission(**one))


def test_what_a_full_slot_keeps_in_the_queue_is_not_even_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    me, limits = desk.enter(), Limits(per_project=1)
    _fill(desk, [{}] * 4)
    desk.clock.move(1)
    last = desk.submit()
    claim(desk, me, limits)
    read: list[object] = []

    def make(row: Sequence[Any]) -> Job:
        read.append(row)
        return made(row)

    made = operations._job
    monkeypatch.setattr(operations, "_job", make)
    assert why(desk, last, limits) == Waiting("the project's turn slots are taken", position=4)
    assert claim(desk, me, limits) == ()
    assert len(read) == 2  # The one that runs, each time.


def test_what_waits_and_is_not_wanted_any_more_is_found(desk: Desk) -> None:
    running, kept, unwanted = desk.submit(), desk.submit(), desk.submit()
    desk.record(running, Claimed(Generation(1)))
    desk.write(lambda writing: wishes.wish_cancel(writing, running.id, "ann"))
    desk.write(lambda writing: wishes.wish_cancel(writing, unwanted.id, "ann"))
    assert desk.read(operations.queued_unwanted) == [unwanted]
    assert desk.read(operations.queued_count) == 2
    assert desk.read(lambda connection: wishes.is_unwanted(connection, running.id))
    assert not desk.read(lambda connection: wishes.is_unwanted(connection, kept.id))
