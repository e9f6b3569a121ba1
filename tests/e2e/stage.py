"""Everything real but the model: clients over stdio, pipe, worker, Codex, in folders of their own.

A test says in the prompt what the model will do (see `scripted_model.script`) and waits for
events. Nothing it started is left when it ends.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import psutil
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from codex_control_plane_mcp import rendezvous
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.supervisor import Supervisor
from codex_control_plane_mcp.codex.words.things import Turn
from codex_control_plane_mcp.codex.words.verbs import ListTurns
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.processes import Identity, is_alive, terminate
from codex_control_plane_mcp.scripted_model.home import write_codex_home
from codex_control_plane_mcp.scripted_model.server import ScriptedModel, serving
from codex_control_plane_mcp.settings import load

#: For anything that happens within milliseconds on an idle machine.
SOON_SECONDS = 60.0

Result = dict[str, Any]


class ToolError(Exception):
    """A tool answered `ok: false`."""

    def __init__(self, error: Result) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]
        self.message: str = error["message"]
        self.details: Result = error["details"]
        self.retryable: bool = error["retryable"]


class Client:
    """An MCP client of the official SDK: it checks every result against the tool's schema."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def call(self, tool: str, /, **arguments: object) -> Result:
        """The structured result. Raises ToolError."""
        with anyio.fail_after(2 * SOON_SECONDS):
            answer = await self.session.call_tool(tool, arguments)
        result: Result | None = answer.structured_content
        assert result is not None
        assert json.loads(answer.content[0].text) == result  # type: ignore[union-attr]
        assert len(answer.content[0].text) <= 10_000  # type: ignore[union-attr]
        if not result["ok"]:
            assert answer.is_error
            raise ToolError(result["error"])
        return result

    async def submit(self, message: str, **arguments: object) -> Result:
        given: Result = {"operation_type": "start_chat", "message": message} | arguments
        return await self.call("codex_submit_task", **given)

    async def status(self, operation_id: str, **arguments: object) -> Result:
        return await self.call("codex_get_operation_status", operation_id=operation_id, **arguments)

    async def until(self, operation_id: str, *statuses: str) -> Result:
        """Poll as an orchestrator does, until the operation has one of these statuses."""
        with anyio.fail_after(SOON_SECONDS):
            view = await self.status(operation_id)
            while view["status"] not in statuses:
                assert view["pollRecommended"], f"ended as {view['status']}: {view['lastError']}"
                view = await self.status(operation_id, wait_seconds=45, after_seq=view["latestSeq"])
            return view

    async def phase(self, workflow_id: str, *phases: str) -> Result:
        """Follow a workflow as an orchestrator does, until it is in one of these phases."""
        with anyio.fail_after(SOON_SECONDS):
            while True:
                view = await self.call(
                    "codex_get_workflow_status", workflow_id=workflow_id, wait_seconds=1
                )
                if view["phase"] in phases:
                    return view
                assert view["status"] in ("running", "waiting"), view["lastError"]

    async def finished(self, operation_id: str) -> Result:
        return await self.until(operation_id, "completed", "failed", "interrupted", "cancelled")

    async def asked(self, operation_id: str) -> Result:
        """The first question of an operation that waits for a person."""
        await self.until(operation_id, "waiting_for_approval", "waiting_for_user_input")
        listed = await self.call("codex_list_pending_interactions", operation_id=operation_id)
        question: Result = listed["interactions"][0]
        return question

    async def answer(self, question: Result, **given: object) -> Result:
        return await self.call(
            "codex_answer_pending_interaction",
            interaction_id=question["interactionId"],
            **given,
        )


@dataclass
class Stage:
    """The folders and the model of one test."""

    root: Path
    model: ScriptedModel = field(init=False)
    environ: dict[str, str] = field(default_factory=dict)
    #: What a command is begun with: another network, for one.
    within: tuple[str, ...] = ()

    @property
    def project(self) -> Path:
        return self.root / "projects" / "shop"

    @property
    def state_db(self) -> Path:
        return self.root / "state" / "state.sqlite3"

    def server(self, *arguments: str) -> StdioServerParameters:
        command = (*self.within, sys.executable, "-m", "codex_control_plane_mcp.server")
        return StdioServerParameters(
            command=command[0],
            args=[*command[1:], *arguments],
            env=self.environ,
            cwd=self.root,
        )

    @asynccontextmanager
    async def client(self, *arguments: str) -> AsyncIterator[Client]:
        """A client that has shaken hands."""
        with (self.root / "client-stderr.log").open("a", encoding="utf-8") as stderr:
            async with (
                stdio_client(self.server(*arguments), errlog=stderr) as (read, write),
                ClientSession(read, write) as session,
            ):
                with anyio.fail_after(SOON_SECONDS):
                    await session.initialize()
                yield Client(session)

    @asynccontextmanager
    async def codex(self) -> AsyncIterator[CodexSession]:
        """A second, raw connection to the app-server that runs: Codex's own word."""
        async with self._supervisor().connect() as session:
            yield session

    async def turns(self, thread_id: str) -> tuple[Turn, ...]:
        """Every turn of a thread as Codex has it, newest first."""
        async with self.codex() as session:
            page = await session.list_turns(ListTurns(ThreadId(thread_id), items_view="full"))
            return page.data

    def worker(self) -> Identity:
        descriptor = rendezvous.read_descriptor(str(self.state_db))
        assert descriptor is not None, "no worker runs"
        return Identity(descriptor.pid, descriptor.started_at)

    def app_server(self) -> Identity:
        process = self._supervisor().status().process
        assert process is not None, "no app-server runs"
        return process

    def kill(self, process: Identity) -> None:
        """kill -9 of a process of this stage, by its identity."""
        assert is_alive(process)
        psutil.Process(process.pid).kill()

    async def strike(self) -> None:
        """Clear the stage; whatever is left then is a failure, and is ended all the same."""
        with suppress(AssertionError):
            worker = self.worker()
            terminate(worker)
            await gone(worker)
        await self._supervisor().drain(SOON_SECONDS)
        left = self._left_behind()
        _, left = psutil.wait_procs(left, timeout=5)
        named = [process.cmdline() for process in left]
        for process in left:
            process.kill()
        assert not named, f"left behind: {named}"

    def _left_behind(self) -> list[psutil.Process]:
        """Processes that name our folder, or have it in their environment."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = [*process.cmdline(), process.environ().get("CODEX_MCP_STATE_DB", "")]
                if process.pid != os.getpid() and any(str(self.root) in word for word in words):
                    found.append(process)
        return found

    def _supervisor(self) -> Supervisor:
        settings = load(self.environ)
        return Supervisor(
            codex_home=settings.codex_home,
            folder=settings.app_server_folder,
            mode="private",
            environ={**os.environ, **self.environ},
        )


async def gone(process: Identity) -> None:
    """Wait until a process that was told to end has ended."""
    with anyio.fail_after(SOON_SECONDS):
        while is_alive(process):  # noqa: ASYNC110  # nothing tells when a stranger's child ends
            await anyio.sleep(0.01)


@asynccontextmanager
async def stage_of(*, features: tuple[str, ...] = (), **settings: str) -> AsyncIterator[Stage]:
    """A stage with these settings (by their environment names) beside the usual ones, and these
    features of Codex switched on."""
    root = Path(tempfile.mkdtemp(prefix="ccp-e2e-", dir=_short_folder()))
    stage = Stage(root)
    stage.project.mkdir(parents=True)
    try:
        async with serving() as stage.model:
            stage.environ = {
                "PATH": os.environ["PATH"],
                "HOME": str(root),
                "CODEX_HOME": str(
                    write_codex_home(root / "codex", stage.model.base_url, features=features)
                ),
                "CODEX_MCP_STATE_DB": str(stage.state_db),
                "CODEX_PROJECTS_ROOT": str(root / "projects"),
                "CODEX_MCP_APP_SERVER": "private",
                "CODEX_MCP_IDLE_EXIT_SECONDS": "60",
                **settings,
            }
            yield stage
    finally:
        # The model is gone by now, so a turn that hung on it ends.
        with anyio.CancelScope(shield=True):
            await stage.strike()
        shutil.rmtree(root, ignore_errors=True)


def _short_folder() -> str:
    """Codex complains about a CODEX_HOME below the system's temporary folder, and a socket's path
    must be short."""
    folder = Path.home() / ".cache" / "codex-control-plane-mcp-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
