"""Several app-servers at once: each task stays with the one that has its thread."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import anyio
import pytest

from codex_control_plane_mcp.codex.errors import AppServerUnavailable
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.model.ids import AppServerId
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.selftest.fake_codex import AppServer, FakeCodex, Fault
from codex_control_plane_mcp.work.line import LINGER_SECONDS
from tests.work.house import House, Worker


@dataclass
class Exchange:
    """Connects to app-servers as the supervisor does: by their ids, and the newest for new work."""

    codex: FakeCodex
    #: Who was called by its id.
    called: list[AppServerId]

    def connect(self) -> AbstractAsyncContextManager[CodexSession]:
        return self._marked(self.codex.connect())

    @asynccontextmanager
    async def connect_to(self, owner: AppServerId) -> AsyncIterator[CodexSession]:
        self.called.append(owner)
        newest = self.codex.server
        server = next(one for one in self.codex._servers if one.id == owner)
        if not server.is_alive:
            raise AppServerUnavailable(f"{owner} is gone")
        opening = self._marked(self.codex.connect())
        self.codex.server = server
        try:
            session = await opening.__aenter__()
        finally:
            self.codex.server = newest
        try:
            yield session
        finally:
            await opening.__aexit__(None, None, None)

    @asynccontextmanager
    async def _marked(
        self, opening: AbstractAsyncContextManager[CodexSession]
    ) -> AsyncIterator[CodexSession]:
        async with opening as session:
            session._whereabouts = replace(
                session._whereabouts,
                is_superseded=lambda: self.codex.server.id != session.app_server.id,
            )
            yield session

    def upgrade(self) -> AppServer:
        """A newer Codex is installed: the present app-server has a successor."""
        return self.codex.start_another()


@pytest.fixture
def exchange(codex: FakeCodex, empty_house: House) -> Exchange:
    exchange = Exchange(codex, [])
    empty_house.connect = exchange.connect
    return exchange


async def hire(house: House, exchange: Exchange) -> Worker:
    worker = await house.hire()
    worker.workshop.line.connect_to = exchange.connect_to
    return worker


async def test_a_new_task_runs_on_the_newer_codex_while_the_former_one_ends_its_own(
    empty_house: House, codex: FakeCodex, exchange: Exchange
) -> None:
    house = empty_house
    await hire(house, exchange)
    old = await house.submit(project="old")
    turn = await codex.turn(1)
    ask = turn.asks_to_run("make")
    question = await old.asked()
    newer = exchange.upgrade()
    new = await house.submit(project="new")
    new_turn = await codex.turn(2)
    new_turn.completes("New.")
    await new.ends()
    await old.answer(question, decision="accept")
    assert await ask.answer() == {"decision": "accept"}
    turn.completes("Old.")
    ended = await old.ends()

    assert new_turn.server is newer
    assert turn.server is not newer
    assert ended.app_server_id == turn.server.id
    assert ended.report is not None
    assert ended.report.text == "Old."
    # All over the connection that each began with.
    assert exchange.called == []
    assert codex.dialled == 2


async def test_a_connection_that_nobody_needs_any_more_is_dropped(
    empty_house: House, codex: FakeCodex, exchange: Exchange
) -> None:
    house = empty_house
    worker = await hire(house, exchange)
    old = await house.submit(project="old")
    former = (await codex.turn(1)).server
    newer = exchange.upgrade()
    new = await house.submit(project="new")
    (await codex.turn(2)).completes("New.")
    await new.ends()
    assert worker.workshop.line.in_use == {former.id}
    (await codex.turn(1)).completes("Old.")
    await old.ends()
    await anyio.sleep(LINGER_SECONDS + 1)

    assert former.connections == []
    assert len(newer.connections) == 1
    assert worker.workshop.line.in_use == frozenset()


async def test_the_next_worker_finds_every_task_where_it_runs(
    empty_house: House, codex: FakeCodex, exchange: Exchange
) -> None:
    house = empty_house
    first = await hire(house, exchange)
    old = await house.submit(project="old")
    turn = await codex.turn(1)
    ask = turn.asks_to_run("make")
    await old.asked()
    exchange.upgrade()
    new = await house.submit(project="new")
    new_turn = await codex.turn(2)
    await new.becomes(Status.RUNNING)
    first.kill()
    await hire(house, exchange)
    await old.answer(await old.asked(), decision="accept")
    assert await ask.answer() == {"decision": "accept"}
    turn.completes("Old.")
    new_turn.completes("New.")
    reports = [(await task.ends()).report for task in (old, new)]

    assert [report.text for report in reports if report] == ["Old.", "New."]
    assert set(exchange.called) == {turn.server.id, new_turn.server.id}


async def test_a_message_to_a_finished_thread_goes_to_the_newer_codex(
    empty_house: House, codex: FakeCodex, exchange: Exchange
) -> None:
    house = empty_house
    await hire(house, exchange)
    old = await house.submit()
    turn = await codex.turn(1)
    turn.completes("Old.")
    await old.ends()
    newer = exchange.upgrade()
    more = await house.submit("More.", thread_id=turn.thread.id)
    following = await codex.turn(2)
    following.completes("More.")
    ended = await more.ends()

    assert following.server is newer
    assert following.thread is turn.thread
    assert ended.status is Status.COMPLETED


async def test_what_a_draining_app_server_refuses_goes_to_another_at_once(
    empty_house: House, codex: FakeCodex, exchange: Exchange
) -> None:
    """F18: its other turns may take hours."""
    house = empty_house
    await hire(house, exchange)
    old = await house.submit(project="old")
    turn = await codex.turn(1)
    await old.becomes(Status.RUNNING)
    former = codex.server
    former.is_draining = True
    new = await house.submit(project="new")
    await codex.called("thread/start", 2)
    exchange.upgrade()
    new_turn = await codex.turn(2)
    new_turn.completes("New.")
    ended = await new.ends()
    turn.completes("Old.")

    assert new_turn.server is not former
    assert ended.status is Status.COMPLETED
    assert (await old.ends()).status is Status.COMPLETED


async def test_a_thread_whose_app_server_began_to_drain_is_taken_elsewhere(
    empty_house: House, codex: FakeCodex, exchange: Exchange
) -> None:
    """It refused the turn, so nobody has it."""
    house = empty_house
    await hire(house, exchange)
    long = await house.submit(project="long")
    turn = await codex.turn(1)
    await long.becomes(Status.RUNNING)
    former = codex.server
    first = await house.submit(project="short")
    short = await codex.turn(2)
    short.completes("One.")
    await first.ends()
    codex.will("turn/start", Fault.SHUTTING_DOWN)
    again = await house.submit("Two.", thread_id=short.thread.id, project="short")
    await codex.called("turn/start", 3)
    former.is_draining = True
    exchange.upgrade()
    elsewhere = await codex.turn(3)
    elsewhere.completes("Two.")
    ended = await again.ends()
    turn.completes("Long.")

    assert elsewhere.server is not former
    assert ended.app_server_id == elsewhere.server.id
    assert (await long.ends()).status is Status.COMPLETED


async def test_a_retired_app_server_that_dies_ends_its_turns_by_evidence(
    empty_house: House, codex: FakeCodex, exchange: Exchange
) -> None:
    house = empty_house
    await hire(house, exchange)
    old = await house.submit(project="old")
    turn = await codex.turn(1)
    await old.becomes(Status.RUNNING)
    newer = exchange.upgrade()
    turn.server.die()
    ended = await old.ends()

    assert ended.status is Status.INTERRUPTED
    assert ended.app_server_id == newer.id
