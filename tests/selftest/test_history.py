"""The judge can say no: one bad history for each promise, made by hand out of a good one."""

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from codex_control_plane_mcp.model.ids import Generation, OperationId
from codex_control_plane_mcp.selftest import virtual_time
from codex_control_plane_mcp.selftest.fake_codex import Ask, FakeCodex
from codex_control_plane_mcp.selftest.history import PROMISES, Watch, check
from codex_control_plane_mcp.selftest.run import silence
from codex_control_plane_mcp.selftest.scenario import fork_and_file, plan_and_execute
from codex_control_plane_mcp.selftest.world import Client, World
from codex_control_plane_mcp.store.book import opened


@dataclass
class History:
    """One that went well, until somebody puts his hand to it."""

    state_db: Path
    codex: FakeCodex
    acknowledged: list[tuple[str | None, OperationId]]

    def sql(self, statement: str) -> None:
        with sqlite3.connect(self.state_db) as connection:
            assert connection.execute(statement).rowcount > 0

    @property
    def question(self) -> Ask:
        (asked,) = self.codex.asks.values()
        return asked

    def broken(self) -> set[str]:
        with opened(self.state_db, threads=False) as book:
            return {breach.promise for breach in check(book, self.codex, self.acknowledged)}


def lived(folder: Path, scenario: Callable[[Client], Awaitable[None]]) -> History:
    async def live() -> History:
        world = World(folder)
        clients: list[Client] = []

        async def client(one: Client) -> None:
            clients.append(one)
            await scenario(one)

        await world.run(client)
        return History(world.state_db, world.codex, clients[0].acknowledged)

    with silence():
        return virtual_time.run(live)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return lived(tmp_path, plan_and_execute)


def _ask_twice(history: History) -> None:
    turn = history.codex.turns[-1]
    turn.items.append(turn.prompts[0])


def _forget(history: History) -> None:
    history.acknowledged.append(("another", OperationId("op_never")))


def _two_for_one_key(history: History) -> None:
    (_, first), (_, second), *_ = history.acknowledged
    history.acknowledged[:] = [("key", first), ("key", second)]


def _decide_otherwise(history: History) -> None:
    history.question.taken = {"decision": "decline"}


def _decide_what_was_never_got(history: History) -> None:
    history.question.taken = None


def _withdraw_what_was_accepted(history: History) -> None:
    history.sql("UPDATE interactions SET status = 'withdrawn'")


def _leave_a_wish_open(history: History) -> None:
    history.sql("UPDATE wishes SET done_at = NULL, outcome = NULL")


def _leave_a_question_open(history: History) -> None:
    history.sql("UPDATE interactions SET status = 'pending', closed_at = NULL")


def _report_otherwise(history: History) -> None:
    history.sql("UPDATE operations SET report_text = 'All is well.' WHERE type = 'send_message'")


def _mishear(history: History) -> None:
    history.sql("UPDATE journal SET text = text || text WHERE category = 'assistant'")


def _guess_the_end(history: History) -> None:
    history.codex.turns[-1].status = "failed"


def _guess_the_steering(history: History) -> None:
    turn = history.codex.turns[-1]
    turn.items.remove(turn.prompts[-1])


def _lose_a_line(history: History) -> None:
    history.sql("DELETE FROM journal WHERE seq = 2")


@pytest.mark.parametrize(
    ("promise", "harm"),
    [
        ("I1", _ask_twice),
        ("I2", _forget),
        ("I2", _two_for_one_key),
        ("I4", _decide_otherwise),
        ("I4", _decide_what_was_never_got),
        ("I4", _withdraw_what_was_accepted),
        ("I5", _leave_a_wish_open),
        ("I5", _leave_a_question_open),
        ("I6", _report_otherwise),
        ("I6", _mishear),
        ("I7", _guess_the_end),
        ("I7", _guess_the_steering),
        ("I8", _lose_a_line),
    ],
)
def test_a_promise_that_was_broken_is_noticed(
    history: History, promise: str, harm: Callable[[History], None]
) -> None:
    assert history.broken() == set()
    harm(history)
    assert promise in history.broken()


def _compact_twice(history: History) -> None:
    (compaction,) = (turn for turn in history.codex.turns if turn.is_compaction)
    history.codex.turns.append(compaction)


def _never_fork(history: History) -> None:
    for thread in history.codex.disk.values():
        thread.forked_from = None


def _never_archive(history: History) -> None:
    history.codex.calls[:] = [one for one in history.codex.calls if one[0] != "thread/archive"]


@pytest.mark.parametrize(
    ("promise", "harm"),
    [("I1", _compact_twice), ("I7", _never_fork), ("I7", _never_archive)],
)
def test_what_is_said_of_a_thread_and_is_not_so_is_noticed(
    tmp_path: Path, promise: str, harm: Callable[[History], None]
) -> None:
    history = lived(tmp_path, fork_and_file)
    assert history.broken() == set()
    harm(history)
    assert promise in history.broken()


def test_an_end_that_changes_is_noticed(history: History) -> None:
    watch = Watch()
    with opened(history.state_db, threads=False) as book:
        watch.look(book, Generation(1))
        assert watch.breaches == []
        history.sql("UPDATE operations SET report_text = 'Not so.' WHERE type = 'send_message'")
        watch.look(book, Generation(1))
    assert [breach.promise for breach in watch.breaches] == ["I3"]


def test_a_worker_that_writes_to_what_is_not_its_own_is_noticed(history: History) -> None:
    watch = Watch()
    with opened(history.state_db, threads=False) as book:
        watch.look(book, Generation(2))
    assert {breach.promise for breach in watch.breaches} == {"I5"}


def test_every_promise_has_its_words() -> None:
    assert list(PROMISES) == [f"I{number}" for number in range(1, 9)]
