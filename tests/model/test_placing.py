"""Which host takes what: all come to the same answer, and nobody waits for one that does not."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.clock import Moment, later
from codex_control_plane_mcp.model.ids import HostId, OperationId, ProjectId, ThreadId
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.schedule import (
    YIELD_SECONDS,
    Job,
    Limits,
    Reach,
    decide,
    unplaced,
)
from tests.model.queues import heads_of

NOON = Moment(1_800_000_000_000)
EAST, WEST, NORTH = HostId("east"), HostId("west"), HostId("north")
HOUSE, GARDEN = ProjectId("house"), ProjectId("garden")
AMPLE = Limits(everywhere=99, per_project=99, per_agent=99, writing_per_project=99)


def job(name: str, **more: object) -> Job:
    """A job that came at noon."""
    known: dict[str, object] = {
        "id": OperationId(name),
        "project_id": HOUSE,
        "sandbox": Sandbox.READ_ONLY,
        "due_at": NOON,
        "created_at": NOON,
    }
    return Job(**(known | more))  # type: ignore[arg-type]


def fleet_of(*hosts: Reach) -> list[Reach]:
    """Each knows the others."""
    return [replace(one, others=tuple(o for o in hosts if o is not one)) for one in hosts]


def taken(
    reach: Reach,
    queued: Sequence[Job],
    active: Sequence[Job] = (),
    limits: Limits = AMPLE,
    seconds: float = 0,
) -> tuple[OperationId, ...]:
    """What a host takes, so many seconds after noon. The book offers what is in its projects."""
    offered = [one for one in queued if reach.can_run(replace(one, labels=()))]
    return decide(heads_of(offered), active, limits, later(NOON, seconds), reach).start


def running(host: HostId, count: int) -> list[Job]:
    return [job(f"runs-{host}-{number}", host=host) for number in range(count)]


def reach(
    host: HostId, capacity: int = 4, *labels: str, projects: Sequence[str] = (HOUSE,)
) -> Reach:
    return Reach(host, frozenset(projects), capacity, frozenset(labels))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Reach], list[Job], list[Job], float]:
    """Hosts that differ, what runs on them, what waits, and how long after noon it is."""
    names = st.sets(st.sampled_from(["gpu", "mac"]))
    hosts = [
        Reach(
            HostId(f"host-{number}"),
            frozenset(draw(st.sets(st.sampled_from([HOUSE, GARDEN]), min_size=1))),
            draw(st.integers(1, 3)),
            frozenset(draw(names)),
        )
        for number in range(draw(st.integers(1, 4)))
    ]
    active = [
        one for host in hosts for one in running(host.host, draw(st.integers(0, host.capacity)))
    ]
    queued = [
        job(
            f"op-{number}",
            project_id=draw(st.sampled_from([HOUSE, GARDEN])),
            agent=draw(st.sampled_from(["", "ann"])),
            labels=tuple(sorted(draw(names))),
            created_at=later(NOON, -draw(st.integers(0, 2 * YIELD_SECONDS))),
        )
        for number in range(draw(st.integers(1, 8)))
    ]
    return fleet_of(*hosts), queued, active, draw(st.integers(0, YIELD_SECONDS))


Scene = tuple[list[Reach], list[Job], list[Job], float]


@given(scenes())
def test_what_any_host_could_run_is_left_by_all_of_them_to_one_that_takes_it(scene: Scene) -> None:
    hosts, queued, active, seconds = scene
    for one in queued:
        able = [host for host in hosts if host.can_run(one) and host.room(active) > 0]
        takers = [host for host in hosts if taken(host, [one], active, seconds=seconds)]
        assert bool(takers) == bool(able)
        assert all(host in able for host in takers)


@given(scenes())
def test_hosts_that_take_in_turn_leave_nothing_that_one_has_room_for(scene: Scene) -> None:
    hosts, queued, active, _ = scene
    waiting, busy = {one.id: one for one in queued}, list(active)
    while took := [
        (host, id_) for host in hosts for id_ in taken(host, [*waiting.values()], busy)[:1]
    ]:
        host, id_ = took[0]
        busy.append(replace(waiting.pop(id_), host=host.host))
    for one in waiting.values():
        assert not any(host.can_run(one) and host.room(busy) > 0 for host in hosts)
    for host in hosts:
        assert host.room(busy) >= 0


@given(scenes())
def test_after_a_while_a_host_takes_what_another_should_have_taken(scene: Scene) -> None:
    hosts, queued, active, _ = scene
    for host in hosts:
        able = [one for one in queued if host.can_run(one)]
        late = taken(host, queued, active, seconds=YIELD_SECONDS)
        assert len(late) == min(len(able), host.room(active))
        assert set(late) <= {one.id for one in able}


def test_a_new_task_goes_to_the_host_that_is_relatively_emptier() -> None:
    small, large = fleet_of(reach(EAST, 2), reach(WEST, 8))
    active = [*running(EAST, 1), *running(WEST, 3)]
    assert taken(small, [job("a")], active) == ()
    assert taken(large, [job("a")], active) == ("a",)


def test_a_burst_is_shared_and_the_first_to_come_does_not_take_it_all() -> None:
    east, _ = fleet_of(reach(EAST), reach(WEST))
    assert taken(east, [job("a"), job("b"), job("c")]) == ("a",)


def test_what_only_one_host_can_run_is_taken_beside_what_it_leaves() -> None:
    east, _ = fleet_of(reach(EAST, projects=[HOUSE, GARDEN]), reach(WEST))
    queued = [
        job("left"),
        job("garden", project_id=GARDEN),
        job("bound", host=EAST),
        job("follows", host=EAST, thread_id=ThreadId("t"), project_id=ProjectId("gone")),
    ]
    assert set(taken(east, queued, running(EAST, 1))) == {"garden", "bound", "follows"}


def test_a_host_that_is_full_is_left_nothing() -> None:
    east, _ = fleet_of(reach(EAST, 4), reach(WEST, 1))
    assert taken(east, [job("a")], [*running(EAST, 3), *running(WEST, 1)]) == ("a",)


def test_labels_are_asked_for_all_together_and_do_not_hold_up_the_line() -> None:
    plain = reach(EAST, 4, "gpu")
    queued = [job("both", labels=("gpu", "mac")), job("one", labels=("gpu",)), job("none")]
    assert taken(plain, queued) == ("none", "one")
    assert taken(reach(WEST, 4, "gpu", "mac"), queued) == ("both", "none", "one")


def test_a_host_runs_only_what_is_in_projects_that_it_has_even_if_it_is_named() -> None:
    named = job("named", host=EAST, project_id=GARDEN)
    assert taken(reach(EAST), [named]) == ()
    assert taken(reach(EAST, projects=[GARDEN]), [named]) == ("named",)


def test_a_checkout_at_another_path_is_where_the_task_works() -> None:
    moved = replace(reach(EAST), moved={HOUSE: ("/srv/house", "/home/ann/house")})
    assert moved.checkout(HOUSE, "/srv/house") == "/home/ann/house"
    assert moved.checkout(HOUSE, "/srv/house/api") == "/home/ann/house/api"
    # It goes on in a thread that lives here.
    assert moved.checkout(HOUSE, "/home/ann/house/api") is None
    assert moved.checkout(HOUSE, "/srv/housekeeping") is None
    assert moved.checkout(GARDEN, "/srv/house") is None


FLEET = [reach(EAST, 1, "gpu"), reach(WEST, 1), reach(NORTH, 1, "gpu", projects=[GARDEN])]


@pytest.mark.parametrize(
    ("waiting", "connected", "why"),
    [
        (job("a"), [EAST, WEST], None),
        (job("a", host=EAST), [WEST], "its host east is not connected"),
        (job("a", host=NORTH), [NORTH], "its host north does not have its project"),
        (job("a", host=NORTH, thread_id=ThreadId("t")), [NORTH], None),
        (job("a", labels=("gpu", "mac")), [EAST], "no host has the labels gpu, mac"),
        (job("a", labels=("gpu",)), [WEST], "no host that has the label gpu is connected"),
        (
            job("a", labels=("gpu",)),
            [WEST, NORTH],
            "no host that is connected has its project and the label gpu",
        ),
        (job("a"), [NORTH], "no host that is connected has its project"),
    ],
)
def test_what_cannot_be_placed_says_why(
    waiting: Job, connected: list[HostId], why: str | None
) -> None:
    assert unplaced(waiting, FLEET, connected, []) == why


def test_where_all_that_could_run_it_are_full_that_is_the_reason() -> None:
    full = [*running(EAST, 1), *running(WEST, 1)]
    why = "every host that could run it has as many turns as it may"
    assert unplaced(job("a"), FLEET, [EAST, WEST, NORTH], full) == why
    assert unplaced(job("a"), FLEET, [EAST, WEST, NORTH], full[1:]) is None
