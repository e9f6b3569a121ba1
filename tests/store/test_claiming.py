"""The queue: what may start is taken by one worker, and no limit is passed by two of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import Generation, OperationId, ThreadId
from codex_control_plane_mcp.model.operation import Claimed, Failed, Operation, Status
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import Priority
from codex_control_plane_mcp.model.schedule import STEP_SECONDS, Job, Limits, Waiting
from codex_control_plane_mcp.store import lookup, queue, wishes
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.operations import Fenced
from tests.model.lives import BOUND, TROUBLE
from tests.model.queues import decided
from tests.store.actors import Desk
from tests.store.actors import desk as desk_at


def claim(
    desk: Desk, generation: Generation, limits: Limits | None = None
) -> tuple[OperationId, ...]:
    started = desk.write(
        lambda writing: queue.claim(writing, generation, limits or Limits()), pen=False
    )
    assert started == [desk.get(operation.id) for operation in started]
    return tuple(operation.id for operation in started)


def why(desk: Desk, operation: Operation, limits: Limits) -> Waiting | None:
    return desk.read(
        lambda connection: queue.waiting(connection, operation, limits, desk.clock.now())
    )


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
    jobs = desk.read(queue.active_jobs)
    assert sorted(job.project_id for job in jobs) == ["garden", "garden", "house", "shed"]
    assert desk.read(queue.queued_count) == 8


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
            queue.claim(writing, me, Limits())
            with pytest.raises(StateBusy, match="another process holds"):
                claim(beside, me)

        desk.write(work, pen=False)
    desk.submit()
    assert len(claim(desk, me)) == 1


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


def test_those_who_come_in_the_same_millisecond_start_in_the_order_in_which_they_came(
    desk: Desk,
) -> None:
    me = desk.enter()
    came = [desk.submit().id for _ in range(9)]
    assert claim(desk, me, Limits(everywhere=9, per_project=9)) == tuple(came)


def test_agents_take_turns_at_the_one_writing_slot(desk: Desk) -> None:
    """What was served before counts, also when nothing of it is left but the book."""
    me, writes = desk.enter(), Sandbox.WORKSPACE_WRITE
    for _ in range(4):
        desk.submit(desk.submission(agent="ann", sandbox=writes))
    desk.clock.move(STEP_SECONDS + 1)
    order = [claim(desk, me)]
    desk.submit(desk.submission(agent="bob", sandbox=writes))
    desk.submit(desk.submission(sandbox=writes))
    for _ in range(4):
        desk.clock.move(STEP_SECONDS + 1)
        desk.record(desk.get(order[-1][0]), Failed(TROUBLE))
        order.append(claim(desk, me))
    agents = [desk.get(one).agent_id for (one,) in order]
    assert agents == ["ann", "ann", "bob", None, "ann"]


def test_keys_are_waited_for_and_free_again_at_the_end(desk: Desk) -> None:
    me, limits = desk.enter(), Limits(writing_per_project=3)
    api, whole, web, docs = (
        desk.submit(replace(desk.submission(sandbox=Sandbox.WORKSPACE_WRITE), resource_keys=(key,)))
        for key in ("src/api", "src", "src/web", "docs")
    )
    assert claim(desk, me, limits) == (api.id, docs.id)
    assert why(desk, whole, limits) == Waiting(f"its resource keys meet those of {api.id}", 1)
    assert why(desk, web, limits) == Waiting(f"its resource keys meet those of {whole.id}", 2)
    desk.record(desk.get(api.id), Failed(TROUBLE))
    assert claim(desk, me, limits) == (whole.id,)
    desk.record(desk.get(whole.id), Failed(TROUBLE))
    assert claim(desk, me, limits) == (web.id,)


# --- The queue is not read whole, and yet nothing is decided otherwise ----------------------------

crowds = st.lists(
    st.fixed_dictionaries(
        {
            "project": st.sampled_from(["house", "garden"]),
            "agent": st.sampled_from([None, "ann", "bob"]),
            "thread": st.sampled_from([None, "t1", "t2"]),
            "sandbox": st.sampled_from(Sandbox),
            "priority": st.sampled_from(Priority),
            "keys": st.lists(
                st.sampled_from(["", "src", "src/api", "docs"]), max_size=2, unique=True
            ).map(tuple),
        }
    ),
    max_size=9,
)
limits = st.builds(
    Limits,
    everywhere=st.integers(1, 5),
    per_project=st.integers(1, 4),
    per_agent=st.integers(1, 3),
    writing_per_project=st.integers(1, 3),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    first=crowds,
    second=crowds,
    limits=limits,
    pause=st.sampled_from([0, 1, STEP_SECONDS, 9 * STEP_SECONDS]),
)
def test_what_starts_and_why_the_rest_waits_is_as_if_the_whole_queue_were_read(
    desk: Desk,
    first: list[dict[str, Any]],
    second: list[dict[str, Any]],
    limits: Limits,
    pause: float,
) -> None:
    me = desk.enter()
    for one in desk.read(lookup.unfinished):
        desk.record(one, Failed(TROUBLE))
    _fill(desk, first)
    claim(desk, me, limits)
    desk.clock.move(pause)
    _fill(desk, second)

    waiting = [one for one in desk.read(lookup.unfinished) if one.status is Status.QUEUED]
    active, now = desk.read(queue.active_jobs), desk.clock.now()
    jobs = [replace(queue.job_of(one), line_moved_at=_moved(desk, one)) for one in waiting]
    decision, reasons = decided(jobs, active, limits, now)
    jobs.sort(key=lambda job: (job.due_at, job.id))
    for place, job in enumerate(jobs, 1):
        reason = reasons.get(job.id)
        expected = None if reason is None else Waiting(reason, place)
        assert why(desk, desk.get(job.id), limits) == expected
    front = desk.read(lambda connection: queue.front(connection, limits, now, 5))
    assert [(one.id, reason) for one, reason in front] == [
        (job.id, reasons.get(job.id)) for job in jobs[:5]
    ]
    assert desk.read(queue.queued_count) == len(waiting)
    assert claim(desk, me, limits) == decision.start


def _moved(desk: Desk, operation: Operation) -> Moment:
    """When one before it in its line last began a turn."""
    query = text(
        "SELECT max(started_at) FROM operations WHERE agent_id = :agent AND started_at > :due"
        " AND (due_at < :due OR due_at = :due AND id < :id)"
    )
    values = {
        "agent": operation.agent_id or "",
        "due": queue.job_of(operation).due_at,
        "id": operation.id,
    }
    return Moment(desk.read(lambda connection: connection.scalar(query, values)) or 0)


def _fill(desk: Desk, crowd: list[dict[str, Any]]) -> None:
    for one in crowd:
        keys = one.pop("keys", ())
        desk.clock.move(1)
        desk.submit(replace(desk.submission(**one), resource_keys=keys))


def test_of_a_long_queue_only_the_heads_are_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    me, limits = desk.enter(), Limits(per_project=1)
    _fill(desk, [{"agent": agent} for agent in ("ann", "bob")] * 20)
    _fill(desk, [{"project": "garden"}] * 20)
    read: list[object] = []

    def make(row: Sequence[Any]) -> Job:
        read.append(row)
        return made(row)

    made = queue._job
    monkeypatch.setattr(queue, "_job", make)
    assert len(claim(desk, me, limits)) == 2
    # Three lines for who has waited too long, who are also those of whom the first starts; one when
    # a project is full; none when both are.
    assert len(read) == 4
    last = desk.submit()
    read.clear()
    assert why(desk, last, limits) == Waiting("the project's turn slots are taken", position=59)
    assert claim(desk, me, limits) == ()
    assert len(read) == 7  # The two that run, each time; and the three lines, once.


def test_what_waits_and_is_not_wanted_any_more_is_found(desk: Desk) -> None:
    running, kept, unwanted = desk.submit(), desk.submit(), desk.submit()
    desk.record(running, Claimed(Generation(1)))
    desk.write(lambda writing: wishes.wish_cancel(writing, running.id, "ann"))
    desk.write(lambda writing: wishes.wish_cancel(writing, unwanted.id, "ann"))
    assert desk.read(queue.queued_unwanted) == [unwanted]
    assert desk.read(queue.queued_count) == 2
    assert desk.read(lambda connection: wishes.is_unwanted(connection, running.id))
    assert not desk.read(lambda connection: wishes.is_unwanted(connection, kept.id))
