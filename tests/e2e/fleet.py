"""Hosts of one fleet on real Codex: each with a Codex home, a state folder, a worker and an
app-server of its own, and PostgreSQL between them.

`python -m tests.e2e.fleet --kills 100` kills workers, app-servers and connections to PostgreSQL
while tasks run, and says what became of them. With `--apart` each host has a network of its own,
and is cut off from PostgreSQL now and then.
"""

import argparse
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import parse_qs, urlsplit

import anyio
import psycopg

from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.codex.words.things import AgentMessage, Turn
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.store import hosts, journal, lookup, queue
from codex_control_plane_mcp.store.book import Book, Reading, opened
from tests.e2e.islands import DATABASE, Dial, Island, island
from tests.e2e.stage import Client, Stage, stage_of
from tests.postgres import FAST, postgres

PATIENCE_SECONDS = 600.0
LIMIT = 4
CAPACITY = 3
#: A host is cut off for so long: before anybody can have noticed, and until all have.
SHORT_CUTS, LONG_CUT = (2.0, 8.0), 60.0
#: Of so many kills one is a cut; of so many cuts one is long.
KILLS_A_CUT, CUTS_A_LONG_ONE = 10, 6


@dataclass
class Fleet:
    """Hosts by name, their book, and a way to cut their lines to it."""

    url: str
    hosts: dict[str, Stage]
    book: Book
    #: Those that have a network of their own.
    islands: dict[str, Island] = field(default_factory=dict)
    most_active: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    #: How long each partition lasted.
    partitions: list[float] = field(default_factory=list)

    def cut(self) -> int:
        """End every connection of the workers to PostgreSQL, as its restart would."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                " current_database() AND application_name = 'codex-control-plane-mcp'"
                " AND pid <> pg_backend_pid()"
            ).fetchall()
        return len(ended)

    async def isolate(self, name: str, seconds: float) -> None:
        """Cut a host off from PostgreSQL; its turns, and its clients, are left to it."""
        self.partitions.append(seconds)
        with self.islands[name].cut():
            await anyio.sleep(seconds)

    async def whole(self) -> None:
        """Wait until nobody is cut off."""
        while any(one.is_cut for one in self.islands.values()):  # noqa: ASYNC110
            await anyio.sleep(0.2)

    async def watch(self) -> None:
        """See how many turns are active, again and again."""
        while True:
            with suppress(Exception):  # its own connection is cut, too
                active = await self.book.read(queue.active_jobs)
                self.most_active = max(self.most_active, len(active))
            await anyio.sleep(0.02)


@asynccontextmanager
async def fleet_of(
    url: str,
    *names: str,
    capacity: int = CAPACITY,
    apart: bool = False,
    own_projects: bool = False,
    **labels: str,
) -> AsyncIterator[Fleet]:
    """These hosts, on the database at `url`, and their labels by name. `apart`: each in a network
    of its own. They have the same projects at the same place, or `own_projects`."""
    plain = url.replace("+psycopg", "")
    async with AsyncExitStack() as stack:
        shared = {
            "CODEX_MCP_DATABASE_URL": plain,
            "CODEX_MCP_HOST_CAPACITY": str(capacity),
            "CODEX_MCP_MAX_ACTIVE_TURNS_GLOBAL": str(LIMIT),
            "CODEX_MCP_MAX_ACTIVE_TURNS_PER_PROJECT": str(LIMIT),
            "CODEX_MCP_MAX_ACTIVE_TURNS_PER_AGENT": str(LIMIT),
        }
        hosts: dict[str, Stage] = {}
        islands: dict[str, Island] = {}
        for name in names:
            if apart:
                islands[name] = stack.enter_context(island())
            stage = await stack.enter_async_context(
                stage_of(
                    features=(),
                    **shared,
                    CODEX_MCP_HOST=name,
                    CODEX_MCP_HOST_LABELS=labels.get(name, ""),
                )
            )
            hosts[name] = stage
            if not own_projects:
                first = hosts[names[0]]
                stage.environ["CODEX_PROJECTS_ROOT"] = first.environ["CODEX_PROJECTS_ROOT"]
        for name, island_ in islands.items():
            _settle(hosts[name], island_, plain)
        book = stack.enter_context(opened(plain))
        yield Fleet(plain, hosts, book, islands)


def _settle(stage: Stage, island_: Island, url: str) -> None:
    """Have a host live on an island, from where it reaches its model and PostgreSQL."""
    model = urlsplit(stage.model.base_url)
    assert model.hostname is not None
    assert model.port is not None
    address = (model.hostname, model.port)
    island_.relay(address, partial(socket.create_connection, address))
    database = urlsplit(url)
    (folder,) = parse_qs(database.query)["host"]
    island_.relay(DATABASE, _dial_unix(f"{folder}/.s.PGSQL.5432"))
    host, port = DATABASE
    stage.environ["CODEX_MCP_DATABASE_URL"] = f"postgresql://postgres@{host}:{port}{database.path}"
    stage.within = island_.within


def _dial_unix(path: str) -> Dial:
    def dial() -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(path)
        except OSError:
            line.close()
            raise
        return line

    return dial


async def chaos(fleet: Fleet, kills: int, seed: int) -> dict[str, object]:
    """Submit at all hosts and kill in between, until so many were killed; then say what became of
    everything that was acknowledged."""
    dice = random.Random(seed)  # noqa: S311
    acknowledged: list[str] = []
    names = list(fleet.hosts)
    done = anyio.Event()
    started = time.monotonic()

    async def submit(name: str) -> None:
        number = 1
        while not done.is_set():
            with suppress(Exception):
                async with fleet.hosts[name].client() as client:
                    while not done.is_set():
                        key = f"{name}-{number}"
                        prompt = f"Task {key}.\nstream 20 words every 100ms\nsay Done {key}."
                        await _submit(client, key, prompt, str(fleet.hosts[names[0]].project))
                        acknowledged.append(key)
                        number += 1
                        await anyio.sleep(0.5)
            await anyio.sleep(0.2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fleet.watch)
        for name in names:
            tasks.start_soon(submit, name)
        while fleet.killed.total() < kills:
            await anyio.sleep(dice.uniform(0.5, 2.5))
            name = dice.choice(names)
            stage = fleet.hosts[name]
            what = dice.choice(["worker", "worker", "connections", "app-server"])
            with suppress(AssertionError):
                if what == "worker":
                    stage.kill(stage.worker())
                elif what == "app-server":
                    stage.kill(stage.app_server())
                elif not fleet.cut():
                    continue
                fleet.killed[what] += 1
                if fleet.islands and fleet.killed.total() % KILLS_A_CUT == 0:
                    is_long = len(fleet.partitions) % CUTS_A_LONG_ONE == CUTS_A_LONG_ONE - 1
                    seconds = LONG_CUT if is_long else dice.uniform(*SHORT_CUTS)
                    tasks.start_soon(fleet.isolate, name, seconds)
        done.set()
        await fleet.whole()
        with anyio.move_on_after(PATIENCE_SECONDS) as patience:
            await _all_ended(fleet, acknowledged)
        if patience.cancelled_caught:
            raise AssertionError(await _unfinished(fleet))
        tasks.cancel_scope.cancel()
    verdict = await _verdict(fleet, acknowledged)
    return verdict | {"seconds": round(time.monotonic() - started)}


async def _submit(client: Client, key: str, prompt: str, project: str) -> None:
    """The same key makes one task, however often it is sent."""
    await client.call(
        "codex_submit_task",
        operation_type="start_chat",
        message=prompt,
        project_id=project,
        client_request_id=key,
    )


async def _all_ended(fleet: Fleet, keys: list[str]) -> None:
    async with anyio.create_task_group() as tasks:
        for stage in fleet.hosts.values():
            tasks.start_soon(_attend, stage)
        while True:
            found = await fleet.book.read(
                lambda reading: [lookup.by_client_request(reading, key) for key in keys]
            )
            if all(one is not None and one[0].is_final for one in found):
                break
            await anyio.sleep(0.2)
        tasks.cancel_scope.cancel()


async def _unfinished(fleet: Fleet) -> str:
    """What has not ended: where it is, and the last that was written down of it."""

    def look(reading: Reading) -> Iterator[str]:
        yield f"there: {sorted(hosts.present(reading))}"
        for one in lookup.unfinished(reading):
            yield f"{one.id} {one.status} at {one.host} by {one.generation}: {one.trouble}"
            for line in journal.newest(reading, one.id, 5):
                yield f"    {line.seq} {line.at} {line.text!r}"

    return "\n".join(await fleet.book.read(lambda reading: list(look(reading))))


async def _attend(stage: Stage) -> None:
    """Ask a host something again and again: whoever asks starts its worker, also where that could
    not start before, cut off as it was."""
    while True:
        with suppress(Exception):
            async with stage.client() as client:
                while True:
                    await client.call("codex_list_pending_interactions")
                    await anyio.sleep(1)
        await anyio.sleep(0.2)


async def _verdict(fleet: Fleet, keys: list[str]) -> dict[str, object]:
    every = await fleet.book.read(lookup.every)
    by_key = {one.client_request_id: one for one in every}
    turns = await _turns(fleet, every)
    misquoted = [one.id for one in every if not await _is_quoted(fleet, one, turns)]
    return {
        "acknowledged": len(keys),
        "lost": sum(key not in by_key or not by_key[key].is_final for key in keys),
        "threads": len(turns),
        "doubled": sum(len(found) > 1 for found in turns.values()),
        "misquoted": len(misquoted),
        "ends": dict(Counter(str(by_key[key].status) for key in keys if key in by_key)),
        "hosts": dict(Counter(str(one.host) for one in every)),
        "killed": dict(fleet.killed),
        "partitions": f"{len(fleet.partitions)}, {round(sum(fleet.partitions))} s",
        "most_active": fleet.most_active,
        "limit": LIMIT,
    }


async def _turns(fleet: Fleet, every: list[Operation]) -> dict[str, Sequence[Turn]]:
    """The turns of each thread, by Codex's own word. A thread without one is not kept."""
    turns: dict[str, Sequence[Turn]] = {}
    for operation in every:
        if operation.thread_id is not None and operation.host is not None:
            with suppress(CodexError):
                turns[operation.thread_id] = await fleet.hosts[operation.host].turns(
                    operation.thread_id
                )
    return turns


async def _is_quoted(fleet: Fleet, operation: Operation, turns: dict[str, Sequence[Turn]]) -> bool:
    """Whether the journal has what the model said: all of it, once."""
    found = turns.get(operation.thread_id or "", ())
    if operation.status is not Status.COMPLETED or not found:
        return True
    said = "".join(item.text for item in found[0].items if isinstance(item, AgentMessage))
    lines = await fleet.book.read(
        lambda reading: journal.chronicle(reading, operation.id, [Category.ASSISTANT])
    )
    return "".join(line.text for line in lines) == said


async def _main(kills: int, hosts: int, seed: int, *, apart: bool) -> None:
    with postgres(FAST) as server, server.database() as url:
        async with fleet_of(url, *("east", "west", "north")[:hosts], apart=apart) as fleet:
            for name, value in (await chaos(fleet, kills, seed)).items():
                sys.stdout.write(f"{name:14} {value}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--hosts", type=int, choices=(2, 3), default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--apart", action="store_true", help="networks of their own (Linux, root)")
    given = parser.parse_args()
    anyio.run(partial(_main, given.kills, given.hosts, given.seed, apart=given.apart))
