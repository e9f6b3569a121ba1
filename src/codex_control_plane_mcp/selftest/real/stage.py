"""Folders, processes and the scripted model of one run: all its own, and gone when it ends.

Only a process that provably belongs here is ever killed: its command line or its environment names
this stage's state, and it is still the one whose start was recorded when it was found.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import anyio
import anyio.abc
import anyio.to_thread
import psutil

from codex_control_plane_mcp.codex.binary import SETTING, find_binary
from codex_control_plane_mcp.codex.supervisor import Supervisor
from codex_control_plane_mcp.paths import STATE_DB_VARIABLE
from codex_control_plane_mcp.processes import Identity, identity_of, is_alive, terminate
from codex_control_plane_mcp.scripted_model import ScriptedModel, serving, write_codex_home
from codex_control_plane_mcp.settings import Settings, load

#: Turns side by side: enough that a kill always hits some in the middle.
AT_ONCE = 12
#: Ending, an idle worker needs a tenth of a second, and Codex as long; a busy machine more.
END_SECONDS = 30.0
PAUSE_SECONDS = 0.01

_NOT_OURS = (
    "CODEX_MCP_",
    "CODEX_CONTROL_PLANE_MCP_",
    "OPENCLAW_CODEX_MCP_",
    "CODEX_PROJECTS_",
    "CODEX_ALLOWED_ROOTS",
)


class Role(StrEnum):
    """What a process is here."""

    PIPE = "pipe"
    WORKER = "worker"
    APP_SERVER = "app-server"


@dataclass(frozen=True, slots=True)
class Killed:
    """A process that was killed."""

    role: Role
    process: Identity
    #: Milliseconds since 1970.
    at: int


@dataclass
class Stage:
    """Where one run plays."""

    root: Path
    model: ScriptedModel = field(init=False)
    environ: Mapping[str, str] = field(init=False)
    settings: Settings = field(init=False)
    #: Leave the folder behind, for somebody to look at.
    keep: bool = False
    #: Everything that was killed, in order.
    killed: list[Killed] = field(default_factory=list)

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def effects(self) -> Path:
        """Where approved commands leave their lines."""
        return self.root / "effects"

    @property
    def state_db(self) -> Path:
        return self.root / "state" / "s.sqlite3"

    async def open_pipe(self) -> anyio.abc.Process:
        """Start a pipe, as an MCP client does."""
        with (self.root / "pipes.log").open("ab") as log:
            return await anyio.open_process(
                [sys.executable, "-P", "-m", "codex_control_plane_mcp.server"],
                stderr=log,
                env=self.environ,
                cwd=self.root,
            )

    def supervisor(self) -> Supervisor:
        """Another one beside the worker's: to ask Codex itself, and to end it."""
        return Supervisor(
            codex_home=self.settings.codex_home,
            folder=self.settings.app_server_folder,
            mode="private",
            environ=self.environ,
        )

    # Processes

    def processes(self, *roles: Role) -> list[tuple[Role, Identity]]:
        """Those of ours that live now, in these roles."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                role = self._role(process)
                identity = identity_of(process.pid) if role in roles else None
                if role is not None and identity is not None:
                    found.append((role, identity))
        return found

    def _role(self, process: psutil.Process) -> Role | None:
        words = process.cmdline()
        if "codex_control_plane_mcp.app.worker" in words:
            return Role.WORKER if str(self.state_db) in words else None
        is_pipe = "codex_control_plane_mcp.server" in words
        is_app_server = "app-server" in words and "--listen" in words
        if not (is_pipe or is_app_server) or not self._is_ours(process):
            return None
        return Role.PIPE if is_pipe else Role.APP_SERVER

    def _is_ours(self, process: psutil.Process) -> bool:
        return process.environ().get(STATE_DB_VARIABLE) == str(self.state_db)

    def kill(self, role: Role, process: Identity) -> bool:
        """kill -9 of this very process; False when it was gone already."""
        if not is_alive(process):
            return False
        with suppress(psutil.NoSuchProcess):
            # psutil compares the start once more before it kills.
            psutil.Process(process.pid).kill()
            self.killed.append(Killed(role, process, time.time_ns() // 1_000_000))
            return True
        return False

    def left(self) -> list[psutil.Process]:
        """Whatever runs and names this stage, in its command line or its environment."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                words = [*process.cmdline(), process.environ().get(STATE_DB_VARIABLE, "")]
                if process.pid != os.getpid() and any(str(self.root) in word for word in words):
                    found.append(process)
        return found

    async def clear(self) -> list[str]:
        """End the worker and the app-server in the proper way. Whatever still runs then is named,
        and ended all the same: pipes must have been closed before."""
        for _, worker in self.processes(Role.WORKER):
            terminate(worker)
        with anyio.move_on_after(END_SECONDS):
            await until(lambda: not self.processes(Role.WORKER))
            await self.supervisor().drain(END_SECONDS)
            await until(lambda: not self.left())
        named = []
        for process in self.left():
            with suppress(psutil.Error):
                named.append(f"pid {process.pid}: {' '.join(process.cmdline())}")
                process.kill()
        return named


async def until(happened: Callable[[], bool], pause_seconds: float = PAUSE_SECONDS) -> None:
    """Wait for what nobody tells us of: other processes, and the thread of the model."""
    while not happened():  # noqa: ASYNC110
        await anyio.sleep(pause_seconds)


@asynccontextmanager
async def open_stage(more_environ: Mapping[str, str]) -> AsyncIterator[Stage]:
    """A stage with a scripted model; nothing is started yet. Clear it before leaving."""
    stage = Stage(_new_folder())
    try:
        for folder in (stage.project, stage.effects):
            folder.mkdir()
        async with serving() as stage.model:
            stage.environ = {**_environ(stage), **more_environ}
            stage.settings = load(stage.environ)
            yield stage
    finally:
        if not stage.keep:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(
                    lambda: shutil.rmtree(stage.root, ignore_errors=True)
                )


def _environ(stage: Stage) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
    direct = ",".join(filter(None, (kept.get("NO_PROXY"), "127.0.0.1,localhost")))
    turns = ("GLOBAL", "PER_PROJECT", "PER_AGENT")
    return kept | {
        "NO_PROXY": direct,
        "no_proxy": direct,
        "CODEX_HOME": str(write_codex_home(stage.root / "codex", stage.model.base_url)),
        SETTING: str(find_binary(os.environ.get(SETTING))),
        STATE_DB_VARIABLE: str(stage.state_db),
        "CODEX_ALLOWED_ROOTS": str(stage.project),
        "CODEX_MCP_APP_SERVER": "private",
        "CODEX_MCP_IDLE_EXIT_SECONDS": "60",
        **{f"CODEX_MCP_MAX_ACTIVE_TURNS_{name}": str(AT_ONCE) for name in turns},
    }


def _new_folder() -> Path:
    """Codex complains about a CODEX_HOME below the system's temporary folder, and a socket's path
    must be short."""
    folder = Path.home() / ".cache" / "codex-control-plane-mcp"
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="k-", dir=folder)).resolve()
