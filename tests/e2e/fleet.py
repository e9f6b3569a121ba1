"""Two hosts of one fleet on real Codex: each with a Codex home, a state folder, a worker and an
app-server of its own, and PostgreSQL between them.

`python -m tests.e2e.fleet --kills 100` kills workers, app-servers and connections to PostgreSQL
while tasks run, and says what became of them.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import psycopg

from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.store import operations, queue
from codex_control_plane_mcp.store.book import Book, opened
from tests.e2e.stage import Client, Stage, stage_of
from tests.postgres import FAST, postgres

PATIENCE_SECONDS = 240.0
LIMIT = 4
CAPACITY = 3


@dataclass
class Fleet:
    """Hosts by name, their book, and a way to cut their lines to it."""

    url: str
    hosts: dict[str, Stage]
    book: Book
    most_active: int = 0
    cuts: int = 0
    killed: Counter[str] = field(default_factory=Counter)

    def cut(self) -> int:
        """End every connection of the workers to PostgreSQL, as its restart would."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                " current_database() AND application_name = 'codex-control-plane-mcp'"
                " AND pid <> pg_backend_pid()"
            ).fetchall()
        return len(ended)

    async def watch(self) -> None:
        """See how many turns are active, again and again."""
        while True:
            with suppress(Exception):  # its own connection is cut, too
                active = await self.book.read(queue.active_jobs)
                self.most_active = max(self.most_active, len(active))
            await anyio.sleep(0.02)


@asynccontextmanager
async def fleet_of(
    url: str, *names: str, capacity: int = CAPACITY, apart: bool = False, **labels: str
) -> AsyncIterator[Fleet]:
    """These hosts, on the database at `url`, with the same projects at the same place or, `apart`,
    each with its own; and labels by the host's name."""
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
        for name in names:
            stage = await stack.enter_async_context(
                stage_of(
                    features=(),
                    **shared,
                    CODEX_MCP_HOST=name,
                    CODEX_MCP_HOST_LABELS=labels.get(name, ""),
                )
            )
            hosts[name] = stage
            if not apart:
                first = hosts[names[0]]
                stage.environ["CODEX_PROJECTS_ROOT"] = first.environ["CODEX_PROJECTS_ROOT"]
        book = stack.enter_context(opened(plain))
        yield Fleet(plain, hosts, book)


async def chaos(fleet: Fleet, kills: int, seed: int) -> dict[str, object]:
    """Submit at all hosts and kill in between, until so many were killed; then say what became of
    everything that was acknowledged."""
    dice = random.Random(seed)  # noqa: S311
    acknowledged: list[str] = []
    names = list(fleet.hosts)
    done = anyio.Event()

    async def submit(name: str) -> None:
        number = 0
        while not done.is_set():
            with suppress(Exception):
                async with fleet.hosts[name].client() as client:
                    while not done.is_set():
                        number += 1
                        key = f"{name}-{number}"
                        prompt = f"Task {key}.\nstream 20 words\nsay Done {key}."
                        await _submit_surely(
                            client, key, prompt, str(fleet.hosts[names[0]].project)
                        )
                        acknowledged.append(key)
                        await anyio.sleep(0.5)
            await anyio.sleep(0.2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fleet.watch)
        for name in names:
            tasks.start_soon(submit, name)
        while fleet.killed.total() < kills:
            await anyio.sleep(dice.uniform(0.5, 2.5))
            stage = fleet.hosts[dice.choice(names)]
            what = dice.choice(["worker", "worker", "connections", "app-server"])
            with suppress(AssertionError):
                if what == "worker":
                    stage.kill(stage.worker())
                elif what == "app-server":
                    stage.kill(stage.app_server())
                elif not fleet.cut():
                    continue
                fleet.killed[what] += 1
        done.set()
        with anyio.fail_after(PATIENCE_SECONDS):
            await _all_ended(fleet, acknowledged)
        tasks.cancel_scope.cancel()
    return await _verdict(fleet, acknowledged)


async def _submit_surely(client: Client, key: str, prompt: str, project: str) -> None:
    """Submit until it is acknowledged: the same key makes one task, however often it is sent."""
    await client.call(
        "codex_submit_task",
        operation_type="start_chat",
        message=prompt,
        project_id=project,
        client_request_id=key,
    )


async def _all_ended(fleet: Fleet, keys: list[str]) -> None:
    # Somebody must be at each host to start its worker again.
    async with AsyncExitStack() as stack:
        for stage in fleet.hosts.values():
            await stack.enter_async_context(stage.client())
        while True:
            found = await fleet.book.read(
                lambda reading: [operations.by_client_request(reading, key) for key in keys]
            )
            if all(one is not None and one[0].is_final for one in found):
                return
            await anyio.sleep(0.2)


async def _verdict(fleet: Fleet, keys: list[str]) -> dict[str, object]:
    every = await fleet.book.read(operations.every)
    by_key = {one.client_request_id: one for one in every}
    turns = await _turns(fleet, every)
    return {
        "acknowledged": len(keys),
        "lost": sum(key not in by_key or not by_key[key].is_final for key in keys),
        "threads": len(turns),
        "doubled": sum(count > 1 for count in turns.values()),
        "ends": dict(Counter(str(by_key[key].status) for key in keys if key in by_key)),
        "hosts": dict(Counter(str(one.host) for one in every)),
        "killed": dict(fleet.killed),
        "most_active": fleet.most_active,
        "limit": LIMIT,
    }


async def _turns(fleet: Fleet, every: list[Operation]) -> dict[str, int]:
    """How many turns each thread has, by Codex's own word. A thread without one is not kept."""
    turns: dict[str, int] = {}
    for operation in every:
        if operation.thread_id is not None and operation.host is not None:
            with suppress(CodexError):
                found = await fleet.hosts[operation.host].turns(operation.thread_id)
                turns[operation.thread_id] = len(found)
    return turns


async def _main(kills: int, seed: int) -> None:
    with postgres(FAST) as server, server.database() as url:
        async with fleet_of(url, "east", "west") as fleet:
            for name, value in (await chaos(fleet, kills, seed)).items():
                sys.stdout.write(f"{name:14} {value}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    anyio.run(_main, given.kills, given.seed)
