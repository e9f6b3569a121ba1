"""Roles of PostgreSQL as docs/fleet.md makes them: one owns the tables, the workers' may not."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import psycopg
import pytest

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import HostId, ProjectId
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.schedule import Reach
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.store import hosts
from codex_control_plane_mcp.store.book import opened
from codex_control_plane_mcp.store.engine import connect_postgres
from codex_control_plane_mcp.store.presence import present
from codex_control_plane_mcp.store.retention import prune
from codex_control_plane_mcp.work.requeue import requeue
from tests.cli.commands import ADMIN, environment, run
from tests.hosts import enrolled
from tests.postgres import Postgres
from tests.work.house import House, Task

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("where_postgres_runs")]

GUIDE = Path(__file__).parents[2] / "docs" / "fleet.md"
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Roles:
    owner: str
    workers: str


@pytest.fixture
def roles(postgres_server: Postgres) -> Iterator[Roles]:
    """What the guide has one type, to the letter."""
    first, second = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    everywhere = postgres_server.url_of("postgres", "postgres")
    made = Roles(
        *(postgres_server.url_of(r, "codex_fleet") for r in ("codex_owner", "codex_fleet"))
    )
    try:
        _execute(everywhere, first)
        _execute(made.owner, second)
        yield made
    finally:
        _execute(
            everywhere,
            "DROP DATABASE IF EXISTS codex_fleet WITH (FORCE);"
            "DROP ROLE IF EXISTS codex_fleet; DROP ROLE IF EXISTS codex_owner",
        )


def _execute(url: str, statements: str) -> None:
    with connect_postgres(url, autocommit=True) as connection:
        for one in filter(None, map(str.strip, statements.split(";"))):
            connection.execute(one.encode())


@asynccontextmanager
async def _host(url: str, name: str) -> AsyncIterator[House]:
    """A host that hears of others by PostgreSQL alone, with a Codex of its own."""

    async def nothing() -> None:
        pass

    with opened(url, host=HostId(name)) as book:
        number = enrolled(book, name)
        async with present(url, book, number, nothing), anyio.create_task_group() as tasks:
            codex = FakeCodex()
            house = House(book, codex.connect, codex.is_gone, tasks)
            house.patience_seconds = PATIENCE_SECONDS
            reach = Reach(HostId(name), frozenset({ProjectId("project-1")}), 4)
            house.reach = lambda _: reach
            yield house
            tasks.cancel_scope.cancel()


async def test_the_workers_role_does_all_there_is_to_do_and_changes_no_table(
    roles: Roles, tmp_path: Path
) -> None:
    with pytest.raises(StateBusy, match="codex-control-plane-mcp-admin migrate"):
        opened(roles.workers).__enter__()
    env = environment(tmp_path, CODEX_MCP_DATABASE_URL=roles.owner)
    migrated = run(ADMIN, "migrate", "--json", env=env)
    assert json.loads(migrated.stdout) == {"ok": True, "edition": 1, "usableFromEdition": 1}

    with anyio.fail_after(2 * PATIENCE_SECONDS):
        async with _host(roles.workers, "west") as west:
            async with _host(roles.workers, "east") as east:
                assert await west.book.read(hosts.present) == {"east", "west"}
                await east.hire()
                task = await west.submit("Work.\nrun! make\nsay Done.")
                # East heard of it, and west of the question.
                question = await task.asked()
                await task.answer(question, decision="accept")
                done = await task.becomes(Status.COMPLETED)
                assert (done.host, done.report and done.report.text) == ("east", "Done.")
                lost = await west.submit("Work.\nhang")
                await lost.becomes(Status.RUNNING)
                east.worker.kill()
            await _until_gone(west)
            await west.hire()
            anew = await requeue(west.book, lost.id, "anna")
            assert (await Task(anew.id, west).becomes(Status.RUNNING)).host == "west"
            pruned = prune(west.book, older_than=Moment(2**60), keep_bytes=None, dry_run=False)
            assert pruned.entries > 0
    for forbidden in ("CREATE TABLE mine (x INT)", "DROP TABLE notices", "TRUNCATE notices"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            _execute(roles.workers, forbidden)


async def _until_gone(house: House) -> None:
    """The server ends a connection a moment after it was closed, and tells nobody."""
    while await house.book.read(hosts.present) != {"west"}:  # noqa: ASYNC110
        await anyio.sleep(0.02)
