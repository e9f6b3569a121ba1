"""Who may start: no limit is ever passed, nobody waits without a reason, nobody waits for ever."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, count
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codex_control_plane_mcp.clock import Moment, later
from codex_control_plane_mcp.model.ids import OperationId, ProjectId, ThreadId
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import Priority
from codex_control_plane_mcp.model.schedule import (
    PATIENCE_SECONDS,
    STEP_SECONDS,
    Job,
    Limits,
    due_at,
    keys_meet,
    slots,
)
from tests.model.queues import SLOTS, decided, how_many

NOON = Moment(1_800_000_000_000)
KEYS = ["", "src", "src/api", "src/api/v1", "docs", "srcs"]

limits = st.builds(
    Limits,
    everywhere=st.integers(1, 6),
    per_project=st.integers(1, 4),
    per_agent=st.integers(1, 3),
    writing_per_project=st.integers(1, 3),
)
keys = st.lists(st.sampled_from(KEYS), max_size=2, unique=True).map(tuple)
_numbers = count()


def job(
    name: str = "", *, came: float = 0, priority: Priority = Priority.NORMAL, **more: object
) -> Job:
    """A job that came so many seconds after noon."""
    known: dict[str, object] = {
        "id": OperationId(name or f"job-{next(_numbers):06}"),
        "project_id": ProjectId("house"),
        "sandbox": Sandbox.READ_ONLY,
        "due_at": due_at(priority, later(NOON, came)),
    }
    return Job(**(known | more))  # type: ignore[arg-type]


@st.composite
def crowds(draw: st.DrawFn, most: int = 9) -> list[Job]:
    """Jobs that get in each other's way: few projects, agents, threads, keys and moments."""
    return [
        job(
            f"op-{draw(st.integers(0, 9))}-{number}",
            came=draw(st.integers(0, 3)) * 200,
            priority=draw(st.sampled_from(Priority)),
            project_id=ProjectId(draw(st.sampled_from(["house", "garden"]))),
            agent=draw(st.sampled_from(["", "ann", "bob"])),
            thread_id=draw(st.sampled_from([None, ThreadId("t1"), ThreadId("t2")])),
            sandbox=draw(st.sampled_from(Sandbox)),
            resource_keys=draw(keys),
            line_moved_at=later(NOON, draw(st.integers(0, 3)) * 200),
        )
        for number in range(draw(st.integers(0, most)))
    ]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Job], list[Job], Limits, Moment]:
    """What waits, what runs (within the limits), the limits, and the time."""
    allowed = draw(limits)
    now = later(NOON, draw(st.integers(0, 20)) * 150)
    crowd = draw(crowds(14))
    cut = draw(st.integers(0, len(crowd)))
    running, _ = decided(crowd[:cut], [], allowed, now)
    active = [one for one in crowd[:cut] if one.id in running.start]
    steering = [replace(one, id=OperationId(f"{one.id}-steer"), takes_turn=False) for one in active]
    return crowd[cut:], [*active, *steering], allowed, now


Scene = tuple[list[Job], list[Job], Limits, Moment]

#: The slot that all want.
EVERYWHERE: Counter[tuple[str, object]] = Counter([("all turn slots are taken", "")])


def taken(jobs: Sequence[Job]) -> Counter[tuple[str, object]]:
    return Counter(
        (reason, key)
        for job in jobs
        if job.takes_turn
        for reason, slot in SLOTS.items()
        if (key := slot(job)) is not None
    )


def obstacles(job: Job, beside: Sequence[Job], limits: Limits) -> list[str]:
    """Why `job` cannot run beside the others."""
    most, there = how_many(limits), taken(beside)
    full = [reason for reason, key in taken([job]) if there[reason, key] >= most[reason]]
    return full + [
        f"its resource keys meet those of {other.id}" for other in beside if collide(job, other)
    ]


def collide(one: Job, other: Job) -> bool:
    """Whether two jobs work on the same of a project, said otherwise than in the code."""
    return (
        one.id != other.id
        and one.takes_turn
        and other.takes_turn
        and one.project_id == other.project_id
        and any(
            not a or not b or (f"{a}/").startswith(f"{b}/") or (f"{b}/").startswith(f"{a}/")
            for a in one.resource_keys
            for b in other.resource_keys
        )
    )


# --- What always holds ----------------------------------------------------------------------------


@settings(max_examples=100)
@given(scene=scenes())
def test_every_queued_job_starts_or_waits_for_a_true_reason(scene: Scene) -> None:
    queued, active, limits, now = scene
    decision, reasons = decided(queued, active, limits, now)
    by_id = {one.id: one for one in queued}
    assert sorted([*decision.start, *reasons]) == sorted(by_id)
    running = [*active, *(by_id[id_] for id_ in decision.start)]
    for id_, reason in reasons.items():
        waiting = by_id[OperationId(id_)]
        true = obstacles(waiting, running, limits)
        # Who waits for keys may also wait behind another who waits for keys.
        true += [
            f"its resource keys meet those of {o}"
            for o in reasons
            if collide(waiting, by_id[OperationId(o)])
        ]
        # And nobody takes what is kept for another.
        true += [
            f"it may not pass {o}, which has waited for too long"
            for o in reasons
            if o != id_ and is_impatient(by_id[OperationId(o)], now)
        ]
        assert reason in true


def is_impatient(job: Job, now: Moment) -> bool:
    return now >= later(max(job.due_at, job.line_moved_at), PATIENCE_SECONDS)


@settings(max_examples=100)
@given(scene=scenes())
def test_no_limit_is_passed_by_what_starts(scene: Scene) -> None:
    queued, active, limits, now = scene
    decision, _ = decided(queued, active, limits, now)
    running = [*active, *(one for one in queued if one.id in decision.start)]
    most = how_many(limits)
    assert all(number <= most[reason] for (reason, _), number in taken(running).items())
    assert not any(collide(*pair) for pair in combinations(running, 2))


@settings(max_examples=100)
@given(scene=scenes())
def test_a_slot_is_left_free_only_where_nobody_can_take_it_or_it_is_kept_for_another(
    scene: Scene,
) -> None:
    queued, active, limits, now = scene
    decision, reasons = decided(queued, active, limits, now)
    running = [*active, *(one for one in queued if one.id in decision.start)]
    for one in queued:
        if one.id in reasons and not one.resource_keys:
            assert obstacles(one, running, limits) or any(
                is_impatient(other, now) and taken([one]) & taken([other]) - EVERYWHERE
                for other in queued
                if other.id in reasons and other.id != one.id
            )


@settings(max_examples=100)
@given(scene=scenes(), data=st.data())
def test_the_order_in_which_the_book_lists_them_does_not_matter(
    scene: Scene, data: st.DataObject
) -> None:
    queued, active, limits, now = scene
    shuffled = data.draw(st.permutations(queued))
    there, back = decided(queued, active, limits, now), decided(shuffled, active[::-1], limits, now)
    assert there[0].start == back[0].start
    assert set(there[1]) == set(back[1])


# --- Limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("running", "queued", "reason"),
    [
        ({"project_id": "garden"}, {}, "all turn slots are taken"),
        ({}, {}, "the project's turn slots are taken"),
        (
            {"project_id": "garden", "agent": "ann"},
            {"agent": "ann"},
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
        (
            {"resource_keys": ("src/api",)},
            {"resource_keys": ("docs", "src")},
            "its resource keys meet those of old",
        ),
    ],
)
def test_the_reason_names_what_is_waited_for(
    running: dict[str, Any], queued: dict[str, Any], reason: str
) -> None:
    limits = Limits(
        everywhere=1 if reason.startswith("all") else 9,
        per_project=1 if "project's" in reason else 9,
        per_agent=1,
        writing_per_project=1,
    )
    new, old = replace(job("new"), **queued), replace(job("old"), **running)
    decision, reasons = decided([new], [old], limits, NOON)
    assert decision.start == ()
    assert reasons == {"new": reason}


def test_what_runs_is_a_better_reason_than_what_is_about_to() -> None:
    queued = [job("first"), job("second", came=1, thread_id=ThreadId("t1"))]
    active = [job("old", thread_id=ThreadId("t1"))]
    _, reasons = decided(queued, active, Limits(everywhere=2), NOON)
    assert reasons == {"second": "another turn runs in this thread"}


def test_a_blocked_job_does_not_hold_up_those_behind_it() -> None:
    first = job("first", thread_id=ThreadId("t1"), priority=Priority.HIGH)
    second = job("second", priority=Priority.LOW)
    running = job("running", thread_id=ThreadId("t1"))
    assert decided([first, second], [running], Limits(), NOON)[0].start == ("second",)


def test_a_thread_never_has_two_turns_whatever_the_limits() -> None:
    generous = Limits(everywhere=99, per_project=99, per_agent=99, writing_per_project=99)
    queued = [job("a", thread_id=ThreadId("t1")), job("b", thread_id=ThreadId("t1"))]
    assert decided(queued, [], generous, NOON)[0].start == ("a",)


def test_steering_takes_no_slot_and_waits_for_none() -> None:
    running = job("running", thread_id=ThreadId("t1"), resource_keys=("",))
    steering = [job(thread_id=ThreadId("t1"), takes_turn=False) for _ in range(3)]
    tight = Limits(everywhere=1, per_project=1, per_agent=1, writing_per_project=1)
    assert all(slots(one) == () for one in steering)
    assert decided([running], steering, tight, NOON)[0].start == ("running",)


def test_readers_do_not_take_the_writers_slot() -> None:
    writer = job("writer", sandbox=Sandbox.WORKSPACE_WRITE)
    assert decided([job("reader")], [writer], Limits(), NOON)[0].start == ("reader",)
    assert decided([writer], [job("reader")], Limits(), NOON)[0].start == ("writer",)


# --- Resource keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("src", "src", True),
        ("src", "src/api", True),
        ("src/api/v1", "src", True),
        ("", "src", True),
        ("", "", True),
        ("src", "srcs", False),
        ("src/api", "src/web", False),
        ("src", "docs", False),
        ("src", "lib/src", False),
    ],
)
def test_a_key_stands_for_all_below_it(one: str, other: str, meet: bool) -> None:
    assert keys_meet([one], ["elsewhere", other]) is meet
    assert keys_meet([other], [one]) is meet


def test_who_names_no_keys_meets_nobody() -> None:
    assert not keys_meet([], [""])
    assert not keys_meet([""], [])


def test_keys_are_of_a_project() -> None:
    elsewhere = job("b", project_id=ProjectId("garden"), resource_keys=("src",))
    running = [job("a", resource_keys=("src",))]
    assert decided([elsewhere], running, Limits(), NOON)[0].start == ("b",)


def test_keys_that_do_not_meet_still_write_only_as_many_as_the_limit_allows() -> None:
    writers = [
        job(name, sandbox=Sandbox.WORKSPACE_WRITE, resource_keys=(name,))
        for name in ("a", "b", "c")
    ]
    assert decided(writers, [], Limits(), NOON)[0].start == ("a",)
    assert decided(writers, [], Limits(writing_per_project=2), NOON)[0].start == ("a", "b")


def test_who_waits_for_keys_alone_is_not_passed_by_those_that_would_keep_it_waiting() -> None:
    running = [job("api", resource_keys=("src/api",))]
    whole = job("whole", came=1, resource_keys=("src",))
    web, docs, bare = (
        job("web", came=2, resource_keys=("src/web",)),
        job("docs", came=3, resource_keys=("docs",)),
        job("bare", came=4),
    )
    decision, reasons = decided([whole, web, docs, bare], running, Limits(9, 9, 9, 9), NOON)
    assert decision.start == ("docs", "bare")
    assert reasons == {
        "whole": "its resource keys meet those of api",
        "web": "its resource keys meet those of whole",
    }


def test_who_waits_for_more_than_keys_keeps_none_from_others() -> None:
    running = [job("api", resource_keys=("src/api",), thread_id=ThreadId("t1"))]
    whole = job("whole", came=1, resource_keys=("src",), thread_id=ThreadId("t1"))
    web = job("web", came=2, resource_keys=("src/web",))
    assert decided([whole, web], running, Limits(), NOON)[0].start == ("web",)


# --- Patience -------------------------------------------------------------------------------------

LATE = later(due_at(Priority.NORMAL, NOON), PATIENCE_SECONDS)
WRITER: dict[str, Any] = {"agent": "bob", "sandbox": Sandbox.WORKSPACE_WRITE}


def test_who_headed_its_line_for_too_long_keeps_its_keys_and_then_the_writers_slot() -> None:
    old = job("old", agent="ann", sandbox=Sandbox.WORKSPACE_WRITE, resource_keys=("src",))
    api, writer = job("api", agent="eve", resource_keys=("src/api",)), job("writer", **WRITER)
    queued = [
        old,
        job("web", came=1, agent="eve", resource_keys=("src/web",)),
        job("next", came=1, **WRITER),
    ]
    before = later(LATE, -1)
    assert decided(queued, [writer], Limits(), before)[0].start == ("web",)
    decision, reasons = decided(queued, [writer], Limits(), LATE)
    assert decision.start == ()
    assert reasons["web"] == "its resource keys meet those of old"
    # While it has not its keys, the writers' slot is not left idle for it.
    assert decided(queued, [api], Limits(), LATE)[0].start == ("next",)
    assert decided(queued, [], Limits(), LATE)[0].start == ("old",)


def test_who_waits_for_a_slot_of_the_project_keeps_the_writers_slot() -> None:
    old = job("old", agent="ann", sandbox=Sandbox.WORKSPACE_WRITE)
    later_ones = [job("reader", came=1, agent="eve"), job("next", came=1, **WRITER)]
    decision, reasons = decided(
        [old, *later_ones], [job("runs"), job("runs too")], Limits(per_project=2), LATE
    )
    assert decision.start == ()
    assert set(reasons.values()) == {"the project's turn slots are taken"}
    running = [job("runs"), job("full", agent="ann", project_id=ProjectId("garden"))]
    decision, reasons = decided([old, *later_ones], running, Limits(per_agent=1), LATE)
    assert decision.start == ("next", "reader")
    assert reasons == {"old": "the agent's turn slots are taken"}


def test_who_waits_for_its_thread_keeps_nothing_and_lets_the_next_of_its_line_be_patient() -> None:
    talk: dict[str, Any] = {
        "agent": "ann",
        "thread_id": ThreadId("t1"),
        "sandbox": Sandbox.WORKSPACE_WRITE,
    }
    behind = job("behind", agent="ann", came=1, resource_keys=("src",), sandbox=WRITER["sandbox"])
    queued = [job("old", **talk), behind, job("api", came=2, resource_keys=("src/api",))]
    running = [job("asks", thread_id=ThreadId("t1")), job("writer", **WRITER)]
    decision, reasons = decided(queued, running, Limits(9, 9, 9), later(LATE, 1))
    assert decision.start == ()
    assert reasons["old"] == "another turn runs in this thread"
    assert reasons["api"] == "its resource keys meet those of behind"


def test_a_slot_kept_for_one_is_a_reason_for_others() -> None:
    old = job("old", agent="ann", project_id=ProjectId("garden"), resource_keys=("",))
    holder = job("holder", project_id=ProjectId("garden"), resource_keys=("src",))
    young = job("young", came=1, agent="ann")
    _, reasons = decided([old, young], [holder], Limits(per_agent=1), LATE)
    assert reasons["young"] == "it may not pass old, which has waited for too long"


def test_where_all_wait_long_agents_still_take_turns() -> None:
    """A hundred minutes of one agent's work are queued; another task waits for two turns."""
    jobs = [job(f"ann-{n}", agent="ann") for n in range(20)]
    jobs += [job("bob-0", came=5_000, agent="bob", priority=Priority.HIGH)]
    order = simulated(jobs, ONE, turn_seconds=600, until=10_000)
    assert ("bob-0", 6_000) in order


# --- Whose turn it is -----------------------------------------------------------------------------

ONE = Limits(everywhere=1)


def test_priority_goes_before_age_and_age_before_name() -> None:
    queued = [
        job("c", came=2, priority=Priority.HIGH),
        job("b", came=1),
        job("a", came=1),
        job("d", came=0, priority=Priority.LOW),
    ]
    order = decided(queued, [], Limits(everywhere=9, per_project=9), later(NOON, 3))[0].start
    assert order == ("c", "a", "b", "d")


@pytest.mark.parametrize(
    ("priority", "steps"), [(Priority.HIGH, 0), (Priority.NORMAL, 1), (Priority.LOW, 2)]
)
def test_a_job_goes_before_every_high_one_that_comes_some_steps_after_it(
    priority: Priority, steps: int
) -> None:
    old = job("old", priority=priority)
    for seconds, first in ((steps * STEP_SECONDS - 1, "new"), (steps * STEP_SECONDS + 1, "old")):
        fresh = job("new", came=seconds, priority=Priority.HIGH)
        assert decided([old, fresh], [], ONE, later(NOON, seconds))[0].start == (first,), seconds


def test_of_equal_priority_the_agent_with_fewer_turns_goes_first() -> None:
    running = [job(agent="ann"), job(agent="ann"), job(agent="bob")]
    queued = [job("anns", agent="ann"), job("bobs", came=9, agent="bob"), job("new", came=99)]
    limits = Limits(everywhere=4, per_project=9)
    assert decided(queued, running, limits, later(NOON, 100))[0].start == ("new",)
    assert decided(queued[:2], running, limits, later(NOON, 100))[0].start == ("bobs",)


def test_turns_just_given_count_too() -> None:
    queued = [job(f"ann-{n}", agent="ann") for n in range(3)]
    queued += [job("bob", came=1, agent="bob"), job("nobody", came=2)]
    start = decided(queued, [], Limits(everywhere=4, per_project=9), later(NOON, 3))[0].start
    assert start == ("ann-0", "bob", "nobody", "ann-1")


def test_priority_goes_before_fairness() -> None:
    queued = [job("urgent", agent="ann", priority=Priority.HIGH), job("other", agent="bob")]
    running = [job(agent="ann")]
    assert decided(queued, running, Limits(everywhere=2), NOON)[0].start == ("urgent",)


def test_agents_take_turns_at_a_single_slot_whatever_the_length_of_their_lines() -> None:
    """The writers' slot of a project, most of all."""
    lines = {
        "ann": [
            job(f"ann-{n:02}", agent="ann", sandbox=Sandbox.WORKSPACE_WRITE) for n in range(20)
        ],
        "bob": [
            job(f"bob-{n:02}", came=1000, agent="bob", sandbox=Sandbox.WORKSPACE_WRITE)
            for n in range(3)
        ],
    }
    order = simulated(lines["ann"] + lines["bob"], Limits(), turn_seconds=600, until=10_000)
    since_bob_came = [name[:3] for name, at in order if at >= 1000]
    assert since_bob_came[:7] == ["ann", "ann", "bob", "ann", "bob", "ann", "bob"]


def simulated(
    jobs: Sequence[Job], limits: Limits, *, turn_seconds: int, until: int
) -> list[tuple[str, int]]:
    """Who starts at which second, when every turn takes as long."""
    started: list[tuple[str, int]] = []
    running: list[tuple[int, Job]] = []
    left = {one.id: one for one in jobs}
    for second in range(0, until, 100):
        now = later(NOON, second)
        running = [(end, one) for end, one in running if end > second]
        there = [one for one in left.values() if one.due_at <= later(now, STEP_SECONDS)]
        for id_ in decided(there, [one for _, one in running], limits, now)[0].start:
            one = left.pop(id_)
            left = {other.id: in_line(other, one, now) for other in left.values()}
            running.append((second + turn_seconds, one))
            started.append((id_, second))
    return started


def in_line(waiting: Job, begun: Job, now: Moment) -> Job:
    """A job that still waits, after another has begun."""
    if waiting.agent == begun.agent and (waiting.due_at, waiting.id) > (begun.due_at, begun.id):
        return replace(waiting, line_moved_at=now)
    return waiting


# --- Nobody starves -------------------------------------------------------------------------------

#: What may come again and again: another of the same agent, or what is in the way of the victim.
SHAPES: list[dict[str, object]] = [
    {"agent": "ann"},
    {"agent": "bob"},
    {"agent": "ann", "sandbox": Sandbox.WORKSPACE_WRITE},
    {"agent": "bob", "sandbox": Sandbox.WORKSPACE_WRITE},
    {"agent": "eve", "sandbox": Sandbox.WORKSPACE_WRITE, "resource_keys": ("src/api",)},
    {"agent": "bob", "sandbox": Sandbox.WORKSPACE_WRITE, "resource_keys": ("src/web",)},
    {"agent": "eve", "resource_keys": ("src/api",)},
    {"agent": "bob", "resource_keys": ("src/web", "docs")},
    {"agent": "ann", "thread_id": ThreadId("t1")},
    {"agent": "eve", "thread_id": ThreadId("t1"), "sandbox": Sandbox.WORKSPACE_WRITE},
    {"agent": "ann", "project_id": ProjectId("garden")},
    {"agent": "eve", "project_id": ProjectId("garden")},
    {"agent": "bob", "project_id": ProjectId("garden"), "sandbox": Sandbox.WORKSPACE_WRITE},
]


@settings(max_examples=60)
@given(
    limits=limits,
    victim=st.fixed_dictionaries(
        {
            "agent": st.sampled_from(["", "ann"]),
            "sandbox": st.sampled_from(Sandbox),
            "thread_id": st.sampled_from([None, ThreadId("t1")]),
            "resource_keys": keys,
            "priority": st.sampled_from(Priority),
        }
    ),
    arrivals=st.lists(
        st.tuples(st.sampled_from(SHAPES), st.sampled_from(Priority), st.integers(1, 3)),
        min_size=1,
        max_size=6,
    ),
    newcomers=st.booleans(),
)
# Both the slot of its project and its keys are taken by turns, and seldom free together.
@example(
    limits=Limits(5, 3, 3, 1),
    victim={
        "agent": "ann",
        "priority": Priority.LOW,
        "resource_keys": ("", "src"),
        "sandbox": Sandbox.DANGER_FULL_ACCESS,
    },
    arrivals=[
        (SHAPES[3], Priority.LOW, 3),
        (SHAPES[0], Priority.LOW, 1),
        (SHAPES[0], Priority.LOW, 3),
        (SHAPES[3], Priority.HIGH, 3),
        (SHAPES[6], Priority.LOW, 3),
        (SHAPES[0], Priority.LOW, 1),
    ],
    newcomers=False,
)
def test_nobody_waits_for_ever_whoever_keeps_coming(
    limits: Limits,
    victim: dict[str, object],
    arrivals: list[tuple[dict[str, object], Priority, int]],
    newcomers: bool,
) -> None:
    """More comes each minute than can be done, of the highest priority and from agents never seen
    before; and yet the one that came first begins before long."""
    waiting = [job("victim", **victim)]  # type: ignore[arg-type]
    running: list[tuple[int, Job]] = []
    for minute in range(150):
        now = later(NOON, minute * 60)
        shape, priority, minutes = arrivals[minute % len(arrivals)]
        fresh = dict(shape, agent=f"new-{minute}") if newcomers else shape
        waiting.append(job(came=minute * 60, priority=priority, **fresh))  # type: ignore[arg-type]
        running = [(end, one) for end, one in running if end > minute]
        for id_ in decided(waiting, [one for _, one in running], limits, now)[0].start:
            if id_ == "victim":
                return
            one = next(one for one in waiting if one.id == id_)
            waiting = [in_line(other, one, now) for other in waiting if other is not one]
            running.append((minute + minutes, one))
    raise AssertionError("the victim starved")
