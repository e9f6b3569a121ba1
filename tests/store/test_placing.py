"""What a host of a fleet is offered of the queue: what it can run, and no emptier one shall."""

from dataclasses import replace

import pytest

from codex_control_plane_mcp.model.ids import Generation, HostId
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.request import Placement
from codex_control_plane_mcp.model.schedule import YIELD_SECONDS, Limits, Reach
from codex_control_plane_mcp.store import queue
from tests.store.actors import Desk

AMPLE = Limits(everywhere=9, per_project=9, per_agent=9, writing_per_project=9)
#: A book that is a file has but one host.
ME = HostId("")
HOUSE = Reach(ME, frozenset({"house"}), 9, frozenset({"gpu", "linux"}))
IDLE = Reach(HostId("west"), frozenset({"house"}), 9, frozenset({"gpu"}))


@pytest.fixture
def me(desk: Desk) -> Generation:
    return desk.enter()


def submit(desk: Desk, project: str = "house", **wanted: object) -> Operation:
    placement = Placement(**wanted)  # type: ignore[arg-type]
    return desk.submit(replace(desk.submission(project=project), placement=placement))


def claim(desk: Desk, me: Generation, reach: Reach) -> list[Operation]:
    return desk.write(lambda writing: queue.claim(writing, me, AMPLE, lambda _: reach))


def ids(operations: list[Operation]) -> set[str]:
    return {one.id for one in operations}


def test_a_host_takes_what_is_for_it_and_what_asks_for_no_more_than_it_has(
    desk: Desk, me: Generation
) -> None:
    mine = [
        submit(desk),
        submit(desk, host=ME),
        submit(desk, labels=("linux",)),
        submit(desk, labels=("gpu", "linux")),
    ]
    submit(desk, host=HostId("west"))
    submit(desk, labels=("gpu", "mac"))
    submit(desk, project="garden")
    submit(desk, project="garden", host=ME)
    assert ids(claim(desk, me, HOUSE)) == ids(mine)


def test_what_waits_for_labels_does_not_hold_up_its_line(desk: Desk, me: Generation) -> None:
    for label in ("mac", "arm"):
        for _ in range(3):
            submit(desk, labels=(label,))
    last = submit(desk)
    assert ids(claim(desk, me, HOUSE)) == {last.id}


def test_a_fuller_host_leaves_new_tasks_to_an_emptier_one_and_takes_them_after_a_while(
    desk: Desk, me: Generation
) -> None:
    first, second = submit(desk), submit(desk)
    together = replace(HOUSE, others=(IDLE,))
    (begun,) = claim(desk, me, together)
    assert begun.id == first.id
    submit(desk, labels=("gpu",))
    only_ours = submit(desk, labels=("linux",))
    ours = submit(desk, host=ME)
    assert ids(claim(desk, me, together)) == {only_ours.id, ours.id}
    desk.clock.move(YIELD_SECONDS)
    late = claim(desk, me, together)
    assert second.id in ids(late)
    assert len(late) == 2


def test_a_checkout_at_another_path_is_on_record_and_the_request_stays_what_it_was(
    desk: Desk, me: Generation
) -> None:
    asked = submit(desk)
    (begun,) = claim(desk, me, replace(HOUSE, moved={"house": ("/work/house", "/home/house")}))
    assert desk.get(asked.id) == begun
    assert (begun.cwd, begun.request) == ("/home/house", asked.request)
    assert desk.journal(begun.id)[-1] == "Taken from the queue, in /home/house."
