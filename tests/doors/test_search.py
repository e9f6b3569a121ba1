"""`codex_search_chats` as a client sees it: pages that fit, and every match on one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.doors.mcp.calling import call
from codex_control_plane_mcp.doors.mcp.fit import MAX_RESULT_CHARS, compact
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.store import hook_history
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.hook_history import HookEvent, HookKind
from tests.desk.reception import Reception, reception

COUNT = 60


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path) as opened:
        yield opened


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [None, 1, 50])
async def test_pages_fit_and_leave_nothing_out(limit: int | None, at: Reception) -> None:
    def type_them(writing: Writing) -> None:
        for number in range(COUNT):
            event = HookEvent(
                event_id=f"{number}",
                kind=HookKind.PROMPT,
                at=Moment(at.clock.at),
                thread_id=ThreadId("t-1"),
                turn_id=TurnId("u-1"),
                cwd=str(at.project),
                model=None,
                text=f'{number} "drawers" ' + '"\\" \u0001 ' * 200,
            )
            hook_history.keep(writing, event, 20_000)

    await at.book.write(type_them)
    seen: list[str] = []
    arguments: dict[str, object] = {"query": "drawers", "limit": limit}
    while True:
        page = await call(at.desk, "codex_search_chats", arguments, "test")
        assert page["ok"], page
        assert len(compact(page)) <= MAX_RESULT_CHARS
        assert 0 < len(page["results"]) <= (limit or 20)
        seen += [hit["snippet"].split()[0] for hit in page["results"]]
        if page["nextCursor"] is None:
            break
        arguments["cursor"] = page["nextCursor"]
    assert sorted(seen, key=int) == [str(number) for number in range(COUNT)]
