"""A host's place in its fleet: one connection to PostgreSQL that holds its lock and listens."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

import anyio
import psycopg
import pytest

from codex_control_plane_mcp.clock import Moment, later
from codex_control_plane_mcp.errors import InvalidArgument, StateBusy
from codex_control_plane_mcp.model.ids import (
    Generation,
    HostId,
    ProjectId,
    RepairId,
    new_operation_id,
)
from codex_control_plane_mcp.model.operation import Cancelled, Claimed, Operation
from codex_control_plane_mcp.model.request import Placement
from codex_control_plane_mcp.store import hosts, lookup, operations, presence
from codex_control_plane_mcp.store.bell import News, Subject
from codex_control_plane_mcp.store.book import Book, Writing, opened
from codex_control_plane_mcp.store.notices import Notices, waiting_count
from codex_control_plane_mcp.store.presence import Presence, present
from tests.store.actors import Desk, HandClock

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("where_postgres_runs")]

PATIENCE_SECONDS = 20
NOWHERE = Placement()
HOUSE = hosts.Project(ProjectId("house"), "/work/house")

Enter = Callable[..., AbstractAsyncContextManager[tuple[Book, Presence]]]


def _card(home: str, capacity: int = 4) -> hosts.Card:
    return hosts.Card(f"mark of {home}", f"/homes/{home}", capacity)


@pytest.fixture
async def enter(postgres_url: str) -> AsyncIterator[Enter]:
    """Be a host of the fleet."""

    @asynccontextmanager
    async def enter(name: str, capacity: int = 4) -> AsyncIterator[tuple[Book, Presence]]:
        async with AsyncExitStack() as stack:
            book = stack.enter_context(opened(postgres_url, host=HostId(name)))
            number = await book.write(lambda writing: hosts.enrol(writing, _card(name, capacity)))
            place = present(postgres_url, book, number, _nothing)
            yield book, await stack.enter_async_context(place)

    with anyio.fail_after(60):
        yield enter


async def _nothing() -> None:
    pass


async def _submitted(book: Book, placement: Placement = NOWHERE) -> Operation:
    message = f"Do it, {new_operation_id(book.now())}."
    wanted = replace(Desk(book, HandClock(), "").submission(message), placement=placement)
    return await book.write(
        lambda writing: operations.insert_operation(writing, new_operation_id(writing.now), wanted)
    )


def _tell_a_lot(writing: Writing) -> None:
    for _ in range(600):
        writing.tell(RepairId(new_operation_id(writing.now)), Subject.REPAIR)


async def _until(happened: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while not happened():  # noqa: ASYNC110  # the server tells nobody
            await anyio.sleep(0.02)


async def _hear_out(teller: Book, *hearers: Book) -> None:
    """Return once each has heard what was told so far, for it is heard in order."""
    mark = RepairId(new_operation_id(teller.now()))
    told: set[Book] = set()

    def hear(book: Book, news: News) -> None:
        if (Subject.REPAIR, mark) in news:
            told.add(book)

    for book in hearers:
        book.bell.tell(partial(hear, book), lambda: None)
    await teller.write(lambda writing: writing.tell(mark, Subject.REPAIR))
    await _until(lambda: told == set(hearers))


def _cut(url: str) -> None:
    """End every connection but this one, as a restart of the server does."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_what_one_host_writes_rings_the_bell_of_another(enter: Enter) -> None:
    async with enter("east") as (east, _), enter("west") as (west, _):
        with west.bell.listening(about=Subject.QUEUE) as change:
            operation = await _submitted(east)
            with anyio.fail_after(PATIENCE_SECONDS):
                await change.wait()
        assert await west.read(lambda reading: lookup.get(reading, operation.id)) == operation


async def test_what_is_written_from_outside_the_fleet_is_heard_at_once_too(
    enter: Enter, postgres_url: str
) -> None:
    """As by a terminal: `requeue` submits anew."""
    async with enter("west") as (west, place):
        await _until(lambda: place.is_valid)
        with opened(postgres_url) as book, west.bell.listening(about=Subject.QUEUE) as change:
            await _submitted(book)
            with anyio.fail_after(PATIENCE_SECONDS):
                await change.wait()


async def test_a_host_that_is_full_hears_of_the_queue_only_what_is_its_own(enter: Enter) -> None:
    async with enter("east") as (east, _), enter("west", capacity=0) as (west, place):
        await _until(lambda: place.is_valid)
        rung: list[bool] = []
        with west.bell.listening(about=Subject.QUEUE, on_ring=lambda: rung.append(True)) as change:
            await _submitted(east)
            await _hear_out(east, west)
            assert (rung, place._kept) == ([], set())
            await _submitted(east, Placement(HostId("west")))
            with anyio.fail_after(PATIENCE_SECONDS):
                await change.wait()


async def test_of_many_hosts_a_few_that_have_room_and_its_project_hear_of_a_new_task(
    enter: Enter,
) -> None:
    names = [f"host-{number}" for number in range(8)]
    async with AsyncExitStack() as stack:
        east, _ = await stack.enter_async_context(enter("east"))
        entered = {name: await stack.enter_async_context(enter(name)) for name in names}
        await _until(lambda: all(place.is_valid for _, place in entered.values()))
        with_it = {"host-2", "host-5", "host-7"}
        for name in with_it:
            hear = partial(hosts.hear, codex_version=None, projects=[HOUSE])
            await entered[name][0].write(hear)
        rung: set[str] = set()
        for name, (book, _) in entered.items():
            on_ring = partial(rung.add, name)
            stack.enter_context(book.bell.listening(about=Subject.QUEUE, on_ring=on_ring))
        rung.clear()
        await _submitted(east)
        await _hear_out(east, *(book for book, _ in entered.values()))
        kept = {name for name, (_, place) in entered.items() if place._kept}
        assert rung | kept == with_it
        await _until(lambda: rung == with_it)


async def test_whoever_waits_for_an_operation_hears_what_another_host_writes_of_it(
    enter: Enter,
) -> None:
    async with enter("east") as (east, _), enter("west") as (west, _):
        operation = await _submitted(east)
        with (
            west.bell.listening(operation.id, about=Subject.FACT) as change,
            anyio.fail_after(PATIENCE_SECONDS),
        ):
            # Once for what was written before it was asked for.
            await change.wait()
            await east.write(lambda writing: operations.record(writing, operation, Cancelled()))
            await change.wait()
        ended = await west.read(lambda reading: lookup.get(reading, operation.id))
        assert ended is not None
        assert ended.is_final


async def test_whoever_watches_all_operations_hears_which_another_host_wrote_of(
    enter: Enter,
) -> None:
    async with enter("east") as (east, _), enter("west") as (west, _):
        with west.bell.gathering() as gatherer, anyio.fail_after(PATIENCE_SECONDS):
            operation = await _submitted(east)
            # At first it is told of what changed lately, and may have been missed.
            while operation.id not in await gatherer.take():
                pass


async def test_a_task_ends_in_a_fleet_with_receivers_of_notices(postgres_url: str) -> None:
    with opened(postgres_url, outbox=Notices(("webhook",))) as book:
        operation = await _submitted(book)
        await book.write(lambda writing: operations.record(writing, operation, Cancelled()))
        assert await book.read(partial(waiting_count, receiver="webhook", host=book.host)) == 1


async def test_news_that_are_too_long_to_tell_make_everybody_look(enter: Enter) -> None:
    async with enter("east") as (east, _), enter("west") as (west, _):
        with west.bell.listening(about=Subject.WISH) as change:
            await east.write(_tell_a_lot)
            with anyio.fail_after(PATIENCE_SECONDS):
                await change.wait()


async def test_a_host_is_there_for_as_long_as_it_holds_its_lock(enter: Enter) -> None:
    async with enter("east") as (east, _):
        async with enter("west"):
            assert await east.read(hosts.present) == {"east", "west"}
            (first, second) = await east.read(hosts.every)
            assert (first.id, first.is_there, second.id, second.is_there) == (
                *("east", True),
                *("west", True),
            )
        # The server ends a connection a moment after it was closed.
        await _until(lambda: east.read_now(hosts.present) == {"east"})


async def test_a_host_that_is_away_is_lost_once_it_was_silent_for_a_while(enter: Enter) -> None:
    async with enter("west") as (west, _):
        async with enter("east") as (east, _):
            taken = Claimed(Generation(1), east.host)
            operation = await _submitted(east)
            await east.write(lambda writing: operations.record(writing, operation, taken))

            def lost_since(after_seconds: float) -> Moment | None:
                now = later(west.now(), after_seconds)
                seen = west.read_now(lambda reading: lookup.marks(reading, [operation.id], now))
                return seen[operation.id].lost_since

            assert lost_since(2 * hosts.LOST_SECONDS) is None
        await _until(lambda: west.read_now(hosts.present) == {"west"})
        assert lost_since(0) is None
        assert lost_since(2 * hosts.LOST_SECONDS) is not None


async def test_nobody_enters_as_a_host_that_is_there(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "ENTER_SECONDS", 0.3)
    monkeypatch.setattr(presence, "RETRY_SECONDS", 0.1)
    async with enter("east"):
        with pytest.raises(StateBusy, match="in the fleet already"):
            async with enter("east"):
                pass


async def test_another_home_by_the_same_name_is_refused_and_so_is_a_state_by_two_names(
    postgres_url: str,
) -> None:
    def enrol(name: str, card: hosts.Card) -> None:
        with opened(postgres_url, host=HostId(name)) as book:
            book.write_now(lambda writing: hosts.enrol(writing, card))

    enrol("east", _card("east"))
    enrol("east", _card("east"))
    with pytest.raises(StateBusy, match="another host by the name of east"):
        enrol("east", _card("other"))
    with pytest.raises(StateBusy, match="that of the host east"):
        enrol("west", _card("east"))
    with pytest.raises(StateBusy, match="a Codex home is a host of its own"):
        enrol("east", replace(_card("east"), codex_home="/elsewhere"))


async def test_a_host_whose_connection_broke_comes_back_and_has_everybody_look(
    enter: Enter, postgres_url: str
) -> None:
    async with enter("east") as (east, place), enter("west") as (west, _):
        assert place.is_valid
        with east.bell.listening(about=Subject.WISH) as change:
            _cut(postgres_url)
            with anyio.fail_after(PATIENCE_SECONDS):
                await change.wait()
            assert place.is_valid
        await _until(lambda: west.read_now(hosts.present) == {"east", "west"})
        # What is said now is heard again.
        with east.bell.listening(about=Subject.QUEUE) as change:
            await _submitted(west)
            with anyio.fail_after(PATIENCE_SECONDS):
                await change.wait()


async def test_who_writes_and_reads_does_not_notice_that_all_its_connections_were_ended(
    enter: Enter, postgres_url: str
) -> None:
    async with enter("east") as (east, _):
        for _ in range(2):
            id_ = (await _submitted(east)).id
            assert await east.read(partial(lookup.get, operation_id=id_))
            _cut(postgres_url)


async def test_a_url_that_is_none_is_refused_without_being_repeated() -> None:
    with (
        pytest.raises(InvalidArgument) as refused,
        opened("postgresql://me:%zz-secret@host:port-secret/x"),
    ):
        pass
    assert "secret" not in str(refused.value)
