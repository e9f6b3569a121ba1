"""The life whose writes are recorded: real desk, real workshop, real store, a Codex of the tests.

Run as `python -m tests.power.life FOLDER SYNCHRONOUS`. Each time that something becomes a promise
(a commit returned, a client was told, a request is about to leave for Codex) it writes a mark, so
that the record of system calls shows what had been promised when.
"""

import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.views import InteractionView, OperationView
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.rpc.wire import Wire
from codex_control_plane_mcp.selftest import virtual_time
from codex_control_plane_mcp.selftest.doom import Doom, Killed, Life, MortalBook
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.selftest.scenario import plan_and_execute
from codex_control_plane_mcp.selftest.world import Client, World
from tests.power.contents import read_contents

STATE_FILE: Final = "state.sqlite3"
MARKS: Final = "marks"
SNAPSHOTS: Final = "snapshots.jsonl"
#: As the machine's power went: what the memory-mapped index of the log held.
STALE_INDEX: Final = "stale-shm"
#: Small, so that a short life folds its log into the file many times.
PAGES_A_CHECKPOINT: Final = 40
#: Where the worker dies: the how-manieth time that it passes which point.
DEATHS: Final = {("after turn/start", 3), ("after an answer", 2), ("before a commit", 60)}


@dataclass
class Witness:
    """Writes the marks, and what the book held at each commit."""

    folder: Path
    synchronous: str
    commits: int = 0
    _known: list[MortalBook] = field(default_factory=list)
    _bystander: sqlite3.Connection | None = None

    def __post_init__(self) -> None:
        self._marks = os.open(self.folder / MARKS, os.O_WRONLY | os.O_CREAT, 0o600)

    def mark(self, *words: object) -> None:
        """One write to one file: it has its place in the order of all writes."""
        os.write(self._marks, json.dumps(words).encode() + b"\n")

    def committed(self, book: MortalBook) -> None:
        self.commits += 1
        with (self.folder / SNAPSHOTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(book.read_now(read_contents)) + "\n")
        self.mark("committed", self.commits)
        if book not in self._known:
            self._known.append(book)
            self._prepare(book)

    def _prepare(self, book: MortalBook) -> None:
        connection = book._writer.raw_connection()
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA wal_autocheckpoint={PAGES_A_CHECKPOINT}")
        cursor.execute(f"PRAGMA synchronous={self.synchronous}")
        connection.close()
        if len(self._known) == 1:
            # As long as somebody looks in, a worker that dies leaves its log as kill -9 would.
            self._bystander = sqlite3.connect(self.folder / STATE_FILE)
            self._bystander.execute("SELECT count(*) FROM operations").fetchall()

    def keep_index(self) -> None:
        index = (self.folder / f"{STATE_FILE}-shm").read_bytes()
        (self.folder / STALE_INDEX).write_bytes(index)

    def go(self) -> None:
        """From now on the last one to leave folds the log into the file."""
        if self._bystander is not None:
            self._bystander.close()


@dataclass
class Fate(Doom):
    """A death at named points, so that it stays where it is when others are added."""

    met: dict[str, int] = field(default_factory=dict)

    def point(self, name: str, life: Life) -> None:
        super().point(name, life)
        self.met[name] = self.met.get(name, 0) + 1
        if (name, self.met[name]) in DEATHS:
            life.die()
            raise Killed(name)


class OverheardWire:
    """Marks what is about to leave for Codex."""

    def __init__(self, wire: Wire, witness: Witness) -> None:
        self._wire = wire
        self._witness = witness

    async def send(self, text: str) -> None:
        said = json.loads(text)
        params = said.get("params") or {}
        if "result" in said:
            self._witness.mark("answering", said["id"])
        elif client_id := params.get("clientUserMessageId"):
            self._witness.mark("asking", client_id)
        elif said.get("method") == "turn/interrupt":
            self._witness.mark("interrupting", params["turnId"])
        await self._wire.send(text)

    async def receive(self) -> str:
        return await self._wire.receive()

    async def aclose(self) -> None:
        await self._wire.aclose()


class OverheardCodex(FakeCodex):
    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[CodexSession]:
        mortal = self.wrap  # The world gives it anew for each connection.
        self.wrap = lambda wire: mortal(OverheardWire(wire, self._witness))
        async with super().connect() as session:
            yield session


class TrustingClient(Client):
    """Marks what it was told: from then on it relies on it."""

    def __init__(self, world: World, witness: Witness) -> None:
        super().__init__(world)
        self._witness = witness

    async def submit(self, task: Task) -> OperationId:
        operation_id = await super().submit(task)
        self._witness.mark("accepted", operation_id)
        return operation_id

    async def until(
        self, operation_id: OperationId, is_it: Callable[[OperationView], bool]
    ) -> OperationView:
        view = await super().until(operation_id, is_it)
        self._witness.mark("told", operation_id, view.status, view.latest_seq)
        return view

    async def answer(self, question: InteractionView, **given: object) -> None:
        await super().answer(question, **given)
        self._witness.mark("answered", question.interaction_id)

    async def cancel(self, operation_id: OperationId) -> None:
        await self._call(lambda desk: desk.interrupt(operation_id, "client"))
        self._witness.mark("cancelled", operation_id)

    async def start(self, name: str, *steps: str) -> OperationId:
        return await self.submit(
            Task(
                operation_type=OperationType.START_CHAT,
                message="\n".join([f"Do {name}.", *steps]),
                cwd=str(self.world.project),
                client_request_id=name,
            )
        )


async def live(folder: Path, synchronous: str) -> None:
    witness = Witness(folder, synchronous)
    world = World(folder, Fate(), OverheardCodex(witness), on_commit=witness.committed)
    await world.run(lambda client: _work(TrustingClient(client.world, witness), witness))
    assert set(DEATHS) <= {(name, at) for name, n in _met(world) for at in range(1, n + 1)}
    assert world.lives == len(DEATHS) + 1


def _met(world: World) -> list[tuple[str, int]]:
    assert isinstance(world.doom, Fate)
    return list(world.doom.met.items())


async def _work(client: TrustingClient, witness: Witness) -> None:
    """A plan, its execution with an approval, a steering; then the worker begins to die."""
    await plan_and_execute(client)
    # Dies after `turn/start`: the next generation finds the turn and adopts it.
    await client.end(await client.start("the windows", "stream 60 words", "say Clean."))
    # Dies after the answer.
    doors = await client.start("the doors", "run! paint # because they are red", "say Painted.")
    question = await client.question(doors)
    assert question is not None
    await client.answer(question, decision="accept")
    await client.end(doors)
    witness.keep_index()
    witness.go()
    # Dies before a commit, and closing it folds the log: the next one begins another.
    for room in ("hall", "kitchen", "attic", "cellar"):
        words = f"say The {room} is swept. " + f"{room} " * 300
        await client.end(await client.start(room, "stream 200 words", words))
    waits = await client.start("the garden", "hold rain")
    await client.until(waits, lambda view: view.status is Status.RUNNING)
    await client.cancel(waits)
    await client.end(waits)


def main() -> None:
    folder, synchronous = sys.argv[1:]
    virtual_time.run(live, Path(folder), synchronous)


if __name__ == "__main__":
    main()
