"""The engines as the tests need them: how each is started, and how it tries again."""

import socket
from contextlib import suppress
from typing import Protocol

import anyio

from tests.engines.programs import COMMANDS, PATIENCE_SECONDS, Program, Programs


class Engine(Protocol):
    #: The file of the recipe.
    recipe: str

    async def start(self) -> None:
        """The engine, and a worker of the recipe."""

    def kill(self) -> None:
        """kill -9 of the process in which the step runs."""

    async def again(self, run: str) -> None:
        """That process is dead: have the engine do its step again, as its manual says."""


class Dbos:
    recipe = "dbos_worker.py"

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        database = programs.folder / "dbos.sqlite"
        programs.environ["DBOS_SYSTEM_DATABASE_URL"] = f"sqlite:///{database}"
        self._worker: Program

    async def start(self) -> None:
        self._worker = self._programs.python(self.recipe, "worker")
        await self._worker.says("DBOS launched")

    def kill(self) -> None:
        self._worker.process.kill()

    async def again(self, run: str) -> None:
        assert await self._worker.ended() == -9
        await self.start()


class Temporal:
    recipe = "temporal_worker.py"

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._port = _free_port()
        programs.environ["TEMPORAL_ADDRESS"] = f"127.0.0.1:{self._port}"
        self._worker: Program

    async def start(self) -> None:
        line = ("server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", self._port)
        server = self._programs.start(COMMANDS / "temporal", *line)
        await server.says("Temporal Server:")
        self._worker = self._programs.python(self.recipe, "worker")

    def kill(self) -> None:
        self._worker.process.kill()

    async def again(self, run: str) -> None:
        assert await self._worker.ended() == -9
        self._worker = self._programs.python(self.recipe, "worker")


class Prefect:
    recipe = "prefect_flow.py"

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._port = _free_port()
        programs.environ |= {
            "PREFECT_HOME": str(programs.folder / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{self._port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "DO_NOT_TRACK": "1",
        }
        self._worker: Program
        self._crashes = 0

    async def start(self) -> None:
        line = ("server", "start", "--host", "127.0.0.1", "--port", self._port, "--no-ui")
        self._programs.start(COMMANDS / "prefect", *line)
        await _listens(self._port)
        self._worker = self._programs.python(self.recipe, "worker")
        await self._worker.says("being served")

    def kill(self) -> None:
        self._worker.kill_children()

    async def again(self, run: str) -> None:
        self._crashes += 1
        with anyio.fail_after(PATIENCE_SECONDS):
            while self._worker.said.count(" as crashed") < self._crashes:  # noqa: ASYNC110  # it only logs
                await anyio.sleep(0.05)
        retry = self._programs.start(COMMANDS / "prefect", "flow-run", "retry", run)
        assert await retry.ended() == 0, retry.said


async def _listens(port: int) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            with suppress(OSError):
                async with await anyio.connect_tcp("127.0.0.1", port):
                    return
            await anyio.sleep(0.1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
