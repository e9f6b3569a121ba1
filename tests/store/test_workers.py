"""Owners of the book: each has the next generation, and the latest is known."""

from codex_control_plane_mcp.store import workers
from tests.store.actors import NOON, Desk, all_at_once
from tests.store.actors import desk as desk_at


def test_nobody_owns_a_new_book(desk: Desk) -> None:
    assert desk.read(workers.latest) is None


def test_generations_grow_by_one_and_the_latest_is_the_owner(desk: Desk) -> None:
    assert [desk.enter() for _ in range(12)] == list(range(1, 13))
    latest = desk.read(workers.latest)
    assert latest is not None
    assert latest.generation == 12


def test_an_owner_is_on_record_with_what_it_said_of_itself(desk: Desk) -> None:
    generation = desk.write(lambda writing: workers.enter(writing, "w-1", 4711, "0.3.0"))
    desk.clock.move(10)
    desk.write(lambda writing: workers.beat(writing, generation))
    latest = desk.read(workers.latest)
    assert latest == workers.Worker(
        "w-1", generation, 4711, "0.3.0", NOON, desk.clock.now(), left_at=None
    )


def test_who_leaves_is_seen_to_have_left_and_stays_the_latest(desk: Desk) -> None:
    first, second = desk.enter(), desk.enter()
    desk.clock.move(10)
    desk.write(lambda writing: workers.leave(writing, second))
    latest = desk.read(workers.latest)
    assert latest is not None
    assert latest.generation == second > first
    assert latest.left_at == latest.heartbeat_at == desk.clock.now()


def test_a_beat_is_the_beat_of_one_generation_only(desk: Desk) -> None:
    first, _ = desk.enter(), desk.enter()
    desk.clock.move(10)
    desk.write(lambda writing: workers.beat(writing, first))
    latest = desk.read(workers.latest)
    assert latest is not None
    assert latest.heartbeat_at == NOON


def test_those_who_enter_at_once_get_a_generation_each(desk: Desk) -> None:
    def enter(number: int) -> int:
        with desk_at(desk.where) as mine:
            return mine.write(lambda writing: workers.enter(writing, f"w-{number}", number, "0"))

    assert sorted(all_at_once(8, enter)) == list(range(1, 9))
