"""Who may start: no limit is ever passed, nobody waits without a reason, nobody jumps the queue."""

from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import OperationId, ProjectId, ThreadId
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import Priority
from codex_control_plane_mcp.model.schedule import Job, Limits, decide

#: A job takes a slot of each of these; the words are those of the reason that names it.
SLOTS: dict[str, Callable[[Job], str | None]] = {
    "all turn slots are taken": lambda job: "",
    "the project's turn slots are taken": lambda job: job.project_id,
    "the agent's turn slots are taken": lambda job: job.agent_id,
    "another turn runs in this thread": lambda job: job.thread_id,
    "another writing turn runs in this project": lambda job: (
        None if job.sandbox is Sandbox.READ_ONLY else job.project_id
    ),
}
RANK = [Priority.HIGH, Priority.NORMAL, Priority.LOW]

limits = st.builds(
    Limits,
    everywhere=st.integers(1, 6),
    per_project=st.integers(1, 4),
    per_agent=st.integers(1, 3),
    writing_per_project=st.integers(1, 2),
)


def maybe(*names: str) -> st.SearchStrategy[str | None]:
    return st.sampled_from([None, *names])


@st.composite
def crowds(draw: st.DrawFn, most: int = 9) -> list[Job]:
    """Jobs that get in each other's way: few projects, agents, threads and moments."""
    return [
        Job(
            id=OperationId(f"op-{draw(st.integers(0, 9))}-{number}"),
            project_id=ProjectId(draw(st.sampled_from(["house", "garden"]))),
            agent_id=draw(maybe("ann", "bob")),
            thread_id=None
            if (thread := draw(maybe("t1", "t2", "t3"))) is None
            else ThreadId(thread),
            sandbox=draw(st.sampled_from(Sandbox)),
            priority=draw(st.sampled_from(Priority)),
            created_at=Moment(draw(st.integers(0, 3))),
            takes_turn=draw(st.integers(0, 5)) > 0,
        )
        for number in range(draw(st.integers(0, most)))
    ]


def taken(jobs: Sequence[Job]) -> Counter[tuple[str, object]]:
    return Counter(
        (reason, key)
        for job in jobs
        if job.takes_turn
        for reason, slot in SLOTS.items()
        if (key := slot(job)) is not None
    )


def how_many(limits: Limits) -> dict[str, int]:
    return dict(
        zip(
            SLOTS,
            [
                limits.everywhere,
                limits.per_project,
                limits.per_agent,
                1,
                limits.writing_per_project,
            ],
            strict=True,
        )
    )


def full_slots(job: Job, beside: Sequence[Job], limits: Limits) -> list[str]:
    """Why `job` cannot run beside the others."""
    most, there = how_many(limits), taken(beside)
    return [reason for reason, key in taken([job]) if there[reason, key] >= most[reason]]


def job(name: str, **changes: object) -> Job:
    known: dict[str, object] = {
        "id": OperationId(name),
        "project_id": ProjectId("house"),
        "agent_id": None,
        "thread_id": None,
        "sandbox": Sandbox.READ_ONLY,
        "priority": Priority.NORMAL,
        "created_at": Moment(0),
    }
    return Job(**(known | changes))  # type: ignore[arg-type]


@settings(max_examples=60)
@given(queued=crowds(), active=crowds(most=4), limits=limits)
def test_every_queued_job_starts_or_waits(
    queued: list[Job], active: list[Job], limits: Limits
) -> None:
    verdict = decide(queued, active, limits)
    assert sorted([*verdict.start, *verdict.waiting]) == sorted(job.id for job in queued)


@settings(max_examples=60)
@given(queued=crowds(), active=crowds(most=4), limits=limits)
def test_no_limit_is_passed_by_what_starts(
    queued: list[Job], active: list[Job], limits: Limits
) -> None:
    by_id = {job.id: job for job in queued}
    started = [by_id[id_] for id_ in decide(queued, active, limits).start]
    most, running = how_many(limits), taken([*active, *started])
    for reason, key in taken(started):
        assert running[reason, key] <= most[reason]


@settings(max_examples=60)
@given(queued=crowds(), active=crowds(most=4), limits=limits)
def test_whoever_waits_could_not_start_and_is_told_a_true_reason(
    queued: list[Job], active: list[Job], limits: Limits
) -> None:
    by_id = {job.id: job for job in queued}
    verdict = decide(queued, active, limits)
    running = [*active, *(by_id[id_] for id_ in verdict.start)]
    for id_, waiting in verdict.waiting.items():
        assert waiting.reason in full_slots(by_id[id_], running, limits)


@settings(max_examples=60)
@given(queued=crowds(), active=crowds(most=4), limits=limits)
def test_the_order_is_by_priority_then_age_and_positions_count_from_one(
    queued: list[Job], active: list[Job], limits: Limits
) -> None:
    ordered = sorted(queued, key=lambda job: (RANK.index(job.priority), job.created_at, job.id))
    place = {job.id: number for number, job in enumerate(ordered)}
    verdict = decide(queued, active, limits)
    assert list(verdict.start) == sorted(verdict.start, key=place.__getitem__)
    assert list(verdict.waiting) == sorted(verdict.waiting, key=place.__getitem__)
    positions = [waiting.position for waiting in verdict.waiting.values()]
    assert positions == list(range(1, len(positions) + 1))


@settings(max_examples=60)
@given(queued=crowds(), active=crowds(most=4), limits=limits, data=st.data())
def test_whoever_comes_later_takes_nothing_from_those_before(
    queued: list[Job], active: list[Job], limits: Limits, data: st.DataObject
) -> None:
    ordered = sorted(queued, key=lambda job: (RANK.index(job.priority), job.created_at, job.id))
    first = ordered[: data.draw(st.integers(0, len(ordered)))]
    alone, together = decide(first, active, limits), decide(queued, active, limits)
    ids = {job.id for job in first}
    assert alone.start == tuple(id_ for id_ in together.start if id_ in ids)
    assert alone.waiting == {id_: together.waiting[id_] for id_ in alone.waiting}


@settings(max_examples=60)
@given(queued=crowds(), active=crowds(most=4), limits=limits, data=st.data())
def test_the_order_in_which_the_book_lists_them_does_not_matter(
    queued: list[Job], active: list[Job], limits: Limits, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(queued))
    assert decide(shuffled, active[::-1], limits) == decide(queued, active, limits)


@pytest.mark.parametrize(
    ("running", "queued", "reason"),
    [
        ({"project_id": "garden"}, {}, "all turn slots are taken"),
        ({}, {}, "the project's turn slots are taken"),
        (
            {"project_id": "garden", "agent_id": "ann"},
            {"agent_id": "ann"},
            "the agent's turn slots are taken",
        ),
        (
            {"project_id": "garden", "thread_id": "t1"},
            {"thread_id": "t1"},
            "another turn runs in this thread",
        ),
        (
            {"sandbox": Sandbox.WORKSPACE_WRITE},
            {"sandbox": Sandbox.DANGER_FULL_ACCESS},
            "another writing turn runs in this project",
        ),
    ],
)
def test_the_reason_names_the_limit(
    running: dict[str, object], queued: dict[str, object], reason: str
) -> None:
    limits = Limits(
        everywhere=1 if reason.startswith("all") else 9,
        per_project=1 if "project's" in reason else 9,
        per_agent=1,
        writing_per_project=1,
    )
    verdict = decide([job("new", **queued)], [job("old", **running)], limits)
    assert verdict.start == ()
    assert verdict.waiting[OperationId("new")].reason == reason


def test_a_blocked_job_does_not_hold_up_those_behind_it() -> None:
    first = job("first", thread_id="t1", priority=Priority.HIGH)
    second = job("second", priority=Priority.LOW)
    verdict = decide([first, second], [job("running", thread_id="t1")], Limits())
    assert verdict.start == ("second",)


def test_a_thread_never_has_two_turns_whatever_the_limits() -> None:
    generous = Limits(everywhere=99, per_project=99, per_agent=99, writing_per_project=99)
    verdict = decide([job("a", thread_id="t1"), job("b", thread_id="t1")], [], generous)
    assert verdict.start == ("a",)


def test_steering_takes_no_slot_and_waits_for_none() -> None:
    running = job("running", thread_id="t1")
    steering = [job(f"steer-{n}", thread_id="t1", takes_turn=False) for n in range(3)]
    tight = Limits(everywhere=1, per_project=1, per_agent=1, writing_per_project=1)
    assert len(decide(steering, [running], tight).start) == 3
    assert decide([running], steering, tight).start == ("running",)


def test_readers_do_not_take_the_writers_slot() -> None:
    writer = job("writer", sandbox=Sandbox.WORKSPACE_WRITE)
    assert decide([job("reader")], [writer], Limits()).start == ("reader",)
    assert decide([writer], [job("reader")], Limits()).start == ("writer",)
