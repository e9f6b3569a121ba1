"""A house on virtual time with a fake Codex; its history is audited after every test."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from trio.testing import MockClock

from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.store.book import opened
from tests.work.audit import Watch, audit, audit_codex
from tests.work.house import House, WallClock

#: Another order in which tasks take turns, to look for races: `SCHEDULE_SEED=7 pytest tests/work`.
SEED = int(os.environ.get("SCHEDULE_SEED", "0"))


@pytest.fixture
def anyio_backend(monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, object]]:
    """trio, whose clock jumps to the next thing that happens, and whose tasks take turns in the
    same order each time (as pytest-trio has it)."""
    from trio._core import _run

    monkeypatch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    _run._r.seed(SEED)
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
async def codex() -> FakeCodex:
    return FakeCodex()


@asynccontextmanager
async def open_fake_house(
    where: Path | str, codex: FakeCodex, clock: WallClock
) -> AsyncIterator[House]:
    """A house over a fake Codex; audited at its end."""
    with opened(where, clock=clock, threads=False) as book:
        watch = Watch(book)
        with book.bell.listening(on_ring=watch.look):
            async with anyio.create_task_group() as tasks:
                house = House(book, codex.connect, codex.is_gone, tasks)
                yield house
                tasks.cancel_scope.cancel()
        house.look_for_crashes()
        audit(book, watch)
        audit_codex(book, codex)


@pytest.fixture
async def empty_house(
    book_at: Path | str, codex: FakeCodex, clock: WallClock
) -> AsyncIterator[House]:
    """A house where nobody works yet."""
    async with open_fake_house(book_at, codex, clock) as house:
        yield house


@pytest.fixture
async def house(empty_house: House) -> House:
    """A house with a worker."""
    await empty_house.hire()
    return empty_house
