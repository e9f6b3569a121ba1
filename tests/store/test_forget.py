"""A host that was forgotten, and comes back after all."""

from collections.abc import AsyncIterator, Iterator
from threading import Event

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import text

from codex_control_plane_mcp.errors import InvalidArgument, StateBusy
from codex_control_plane_mcp.model.ids import HostId, RepairId
from codex_control_plane_mcp.model.operation import Cancelled
from codex_control_plane_mcp.model.repair import Action, Outcome, RepairRun, RepairScope
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import hosts, queue, repairs
from codex_control_plane_mcp.store.book import Book, Writing, opened
from codex_control_plane_mcp.store.notices import Notices, dead_count, waiting_count
from codex_control_plane_mcp.store.operations import Replaced
from codex_control_plane_mcp.store.presence import Presence
from codex_control_plane_mcp.work.forget import forget
from tests.store.actors import Desk
from tests.store.actors import desk as desk_at

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("where_postgres_runs")]

#: Only a test that fails waits so long.
PATIENCE_SECONDS = 30
EAST = hosts.Card("mark of east", "/homes/east", 4)


@pytest.fixture
async def east(postgres_url: str) -> AsyncIterator[Desk]:
    """A host whose worker lives, and is cut off."""
    patience = 2 * PATIENCE_SECONDS
    outbox = Notices(("webhook",))
    with (
        desk_at(
            postgres_url, lock_wait_seconds=patience, host=HostId("east"), outbox=outbox
        ) as east,
        anyio.fail_after(patience),
    ):
        east.write(lambda writing: hosts.enrol(writing, EAST))
        yield east


@pytest.fixture
def west(postgres_url: str) -> Iterator[Book]:
    with opened(postgres_url, host=HostId("west")) as west:
        yield west


async def test_its_former_worker_claims_nothing_and_does_not_come_back(
    east: Desk, west: Book, postgres_url: str
) -> None:
    former = east.enter()
    east.submit()
    await forget(west, "east", "ann", force=False)
    with pytest.raises(Replaced):
        east.write(lambda writing: queue.claim(writing, former, Limits()), pen=False)
    with pytest.raises(Replaced, match="has forgotten the host east"):
        await Presence(postgres_url, east.book, 1).enter()
    assert await west.read(hosts.present) == set()


async def test_its_next_worker_enters_it_as_a_new_one(
    east: Desk, west: Book, postgres_url: str
) -> None:
    former = east.enter()
    await forget(west, "east", "ann", force=False)
    assert await west.read(hosts.every) == []
    number = east.write(lambda writing: hosts.enrol(writing, EAST))
    assert east.enter() > former
    place = await Presence(postgres_url, east.book, number).enter()
    place.close()
    assert [one.id for one in await west.read(hosts.every)] == ["east"]


async def test_its_name_is_free_and_its_number_and_generations_are_not(
    east: Desk, west: Book, postgres_url: str
) -> None:
    former = east.enter()
    other = hosts.Card("another mark", "/homes/another", 2)
    with pytest.raises(StateBusy, match="forget-host east"):
        east.write(lambda writing: hosts.enrol(writing, other))
    await forget(west, "east", "ann", force=False)
    assert east.write(lambda writing: hosts.enrol(writing, other)) == 2
    assert east.enter() > former
    with pytest.raises(Replaced):
        await Presence(postgres_url, east.book, 1).enter()
    with pytest.raises(StateBusy, match="another host by the name of east"):
        east.write(lambda writing: hosts.enrol(writing, EAST))


async def test_what_it_claims_at_that_moment_is_seen(east: Desk, west: Book) -> None:
    former, waits = east.enter(), east.submit()
    claimed, go_on = Event(), Event()

    def claim(writing: Writing) -> None:
        queue.claim(writing, former, Limits())
        claimed.set()
        assert go_on.wait(PATIENCE_SECONDS)

    async def let_it_end() -> None:
        while not await west.read(lambda reading: reading.scalar(_SOMEBODY_WAITS)):  # noqa: ASYNC110
            await anyio.sleep(0.02)
        go_on.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: east.book.write(claim, pen=False))
        await anyio.to_thread.run_sync(claimed.wait, PATIENCE_SECONDS)
        tasks.start_soon(let_it_end)
        with pytest.raises(InvalidArgument, match=f"east has in hand {waits.id}"):
            await forget(west, "east", "ann", force=False)


async def test_nothing_stays_open_that_it_alone_would_do(east: Desk, west: Book) -> None:
    run = RepairRun(
        id=RepairId("rep_1"),
        action=Action.REBUILD_SEARCH_INDEX,
        scope=RepairScope(),
        dry_run=False,
        force=False,
        made_by="ann",
        created_at=east.clock.now(),
    )
    east.write(lambda writing: repairs.wish_repair(writing, run))
    east.record(east.submit(), Cancelled())
    assert east.read(lambda reading: waiting_count(reading, "webhook", HostId("east"))) == 1
    await forget(west, "east", "ann", force=False)
    assert east.read(lambda reading: waiting_count(reading, "webhook", HostId("east"))) == 0
    assert east.read(dead_count) == 1
    concluded = east.read(lambda reading: repairs.get(reading, run.id))
    assert concluded is not None
    assert concluded.outcome is Outcome.UNKNOWN


_SOMEBODY_WAITS = text("SELECT true FROM pg_locks WHERE NOT granted LIMIT 1")
