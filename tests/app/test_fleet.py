"""A host in its fleet, as the worker opens it."""

from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.app.fleet import Territory, in_fleet
from codex_control_plane_mcp.model.ids import Generation, HostId
from codex_control_plane_mcp.model.operation import FINAL, Claimed
from codex_control_plane_mcp.settings import DatabaseUrl, Settings
from codex_control_plane_mcp.store import lookup, presence
from codex_control_plane_mcp.store.book import Reading, opened
from tests.store.actors import desk as desk_at

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("where_postgres_runs")]


async def test_a_host_that_is_there_gives_up_what_one_that_is_gone_had_in_hand(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.1)
    with desk_at(postgres_url) as desk:
        lost = desk.record(desk.submit(), Claimed(Generation(1), HostId("east")))
    settings = Settings(
        state_db=tmp_path / "state.sqlite3",
        codex_home=tmp_path,
        database_url=DatabaseUrl(postgres_url),
        host="west",
        requeue_after_seconds=0.0,
    )
    with opened(postgres_url, host=HostId("west")) as book:

        def has_ended(reading: Reading) -> bool:
            operation = lookup.get(reading, lost.id)
            return operation is not None and operation.status in FINAL

        with book.bell.listening(lost.id) as change, anyio.fail_after(30):
            async with in_fleet(settings, book, Territory(settings), lambda: None):
                while not await book.read(has_ended):
                    await change.wait()
