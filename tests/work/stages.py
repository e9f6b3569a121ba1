"""Two stages for the same play: a fake Codex on virtual time, and the real binary.

On both the model plays what stands in the prompt (see `scripted_model.script`), and the line can be
cut. What a scenario sees on one it must see on the other: that keeps the fake honest.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio

from codex_control_plane_mcp.codex.session import CodexSession, Whereabouts, open_session
from codex_control_plane_mcp.codex.supervisor import Supervisor, may_be_alive
from codex_control_plane_mcp.rpc.websocket import connect_unix
from codex_control_plane_mcp.scripted_model.home import write_codex_home
from codex_control_plane_mcp.scripted_model.server import ScriptedModel, serving
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.store.book import opened
from tests.fakes.wire import Scissors
from tests.work.audit import Watch, audit
from tests.work.conftest import open_fake_house
from tests.work.house import House, Task, WallClock

#: A turn of the scripted model takes a tenth of a second; a busy machine may need more.
PATIENCE_SECONDS = 30


class Stage(Protocol):
    """Where a scenario is played."""

    house: House
    #: Cuts lines and swallows answers.
    scissors: Scissors

    async def arrived(self, hold: str) -> None:
        """Wait until the script of some prompt has come to this hold."""

    def release(self, hold: str) -> None:
        """Let it go on."""

    async def kill_the_app_server(self) -> None: ...

    async def model_turns(self, task: Task) -> int:
        """How often the model was asked for this task."""


@dataclass
class FakeStage:
    house: House
    scissors: Scissors
    codex: FakeCodex

    async def arrived(self, hold: str) -> None:
        await self.codex.until(lambda: hold in self.codex.arrived or None)

    def release(self, hold: str) -> None:
        self.codex.release(hold)

    async def kill_the_app_server(self) -> None:
        self.codex.server.die()

    async def model_turns(self, task: Task) -> int:
        prompt = (await task.now()).request.message
        asked = [one["content"][0]["text"] for turn in self.codex.turns for one in turn.prompts]
        return asked.count(prompt)


@dataclass
class RealStage:
    house: House
    scissors: Scissors
    model: ScriptedModel
    supervisor: Supervisor

    async def arrived(self, hold: str) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            await self.model.arrived(hold)

    def release(self, hold: str) -> None:
        self.model.release(hold)

    async def kill_the_app_server(self) -> None:
        process = self.supervisor.status().process
        assert process is not None
        os.kill(process.pid, 9)

    async def model_turns(self, task: Task) -> int:
        prompt = (await task.now()).request.message
        asked = [one for one in self.model.requests if one.user_message == prompt and one.step == 0]
        return len(asked)


@asynccontextmanager
async def fake_stage(folder: Path) -> AsyncIterator[Stage]:
    codex, scissors = FakeCodex(), Scissors()
    codex.wrap = scissors.around
    async with open_fake_house(folder / "state.sqlite3", codex, WallClock()) as house:
        await house.hire()
        yield FakeStage(house, scissors, codex)


@asynccontextmanager
async def real_stage(folder: Path) -> AsyncIterator[Stage]:
    scissors = Scissors()
    project = folder / "project"
    project.mkdir()
    async with serving() as model:
        home = write_codex_home(folder / "home", model.base_url)
        _let_it_ask_without_a_plan(home / "config.toml")
        supervisor = Supervisor(codex_home=home, folder=folder / "app-server", mode="private")

        @asynccontextmanager
        async def connect() -> AsyncIterator[CodexSession]:
            """A line of our own beside the supervisor's, for the scissors."""
            async with supervisor.connect() as other:
                server = other.app_server
                assert server.address is not None
                wire = scissors.around(await connect_unix(server.address))
                whereabouts = Whereabouts("unix", server.address, True, server.process)
                async with open_session(wire, whereabouts) as session:
                    yield session

        try:
            with opened(folder / "state.sqlite3") as book:
                watch = Watch(book)
                with book.bell.listening(on_ring=watch.look):
                    async with anyio.create_task_group() as tasks:
                        house = House(
                            book,
                            connect,
                            lambda id_: not may_be_alive(id_),
                            tasks,
                            str(project),
                            PATIENCE_SECONDS,
                        )
                        await house.hire()
                        yield RealStage(house, scissors, model, supervisor)
                        tasks.cancel_scope.cancel()
                house.look_for_crashes()
                audit(book, watch)
        finally:
            with anyio.CancelScope(shield=True):
                assert await supervisor.drain(PATIENCE_SECONDS), "an app-server is left behind"


def _let_it_ask_without_a_plan(config: Path) -> None:
    feature = "[features]\ndefault_mode_request_user_input = true\n"
    config.write_text(config.read_text().replace("[features]\n", feature, 1))
