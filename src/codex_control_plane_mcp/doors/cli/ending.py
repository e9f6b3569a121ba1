"""Ending what runs for one state: its worker, then its app-server.

Only a process that is provably ours is asked to end (pid and start time), and none is killed. To
end a worker is always safe: Codex goes on with its turns, and the next worker takes them up. To
end the app-server is not, while turns run: it finishes them first, with nobody listening.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import anyio

from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.codex.supervisor import Supervisor
from codex_control_plane_mcp.locks import is_held
from codex_control_plane_mcp.processes import Identity, is_alive, terminate
from codex_control_plane_mcp.rendezvous import (
    WorkerUnavailable,
    read_descriptor,
    start_lock_path,
    worker_lock_path,
)
from codex_control_plane_mcp.settings import Settings

#: A worker leaves in a tenth of a second, after draining an idle app-server, which it gives 10 s.
WORKER_SECONDS = 20.0
#: Codex ends at once without turns; with turns only when they end.
APP_SERVER_SECONDS = 30.0
#: A worker says who it is a second or two after it has taken its state; on a busy machine, ten.
STARTING_SECONDS = 20.0
#: To ask how many turns run.
ASKING_SECONDS = 15.0
#: Windows cannot ask a process to end, only end it, and its turns with it.
ENDING_CUTS_TURNS = sys.platform == "win32"
#: Nothing tells us when another process releases its lock, so we look.
PAUSE_SECONDS = 0.02


class End(StrEnum):
    """What became of a process that was to end."""

    NOT_RUNNING = "not_running"
    ENDED = "ended"
    #: Asked to end, and still there after our patience.
    ENDING = "ending"
    #: It runs, and nothing proves that it is ours.
    NOT_PROVEN = "not_proven"
    LEFT_RUNNING = "left_running"


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of one process, and which one it was."""

    end: End
    pid: int | None = None

    @property
    def is_gone(self) -> bool:
        return self.end in (End.NOT_RUNNING, End.ENDED)


def supervisor_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Supervisor:
    """The supervisor that the worker of these settings uses, too."""
    return Supervisor(
        codex_home=settings.codex_home,
        folder=settings.app_server_folder,
        mode=settings.app_server,
        binary=str(settings.codex_binary) if settings.codex_binary else None,
        environ=environ,
    )


def worker_runs(settings: Settings) -> bool:
    """Whether this state has a worker."""
    return is_held(worker_lock_path(str(settings.state_db)))


def worker_process(settings: Settings) -> Identity | None:
    """The worker that announced itself, if its process still lives."""
    try:
        announced = read_descriptor(str(settings.state_db))
    except WorkerUnavailable:
        return None
    if announced is None:
        return None
    process = Identity(announced.pid, announced.started_at)
    return process if is_alive(process) else None


async def _announced(settings: Settings) -> Identity | None:
    """The worker; one that is just starting is given the time to say who it is. Whoever started it
    may be gone by then."""
    starting = start_lock_path(str(settings.state_db))
    with anyio.move_on_after(STARTING_SECONDS):
        while worker_runs(settings) or is_held(starting):
            if (process := worker_process(settings)) is not None:
                return process
            await anyio.sleep(PAUSE_SECONDS)
    return None


def own_app_server(settings: Settings) -> Identity | None:
    """The app-server that was started for this state, if it lives."""
    status = supervisor_of(settings).status()
    return status.process if status.owned and status.alive else None


async def running_turns(settings: Settings, environ: Mapping[str, str]) -> int | None:
    """How many turns run for this state, by the word of whoever runs them.

    None: nobody could say. Starts nothing.
    """
    if await _announced(settings) is not None:
        return await _turns_of_the_worker(settings, environ)
    if worker_runs(settings):
        return None  # asking would start another one
    if own_app_server(settings) is not None:
        return await _turns_of_the_app_server(settings)
    return 0


async def _turns_of_the_worker(settings: Settings, environ: Mapping[str, str]) -> int | None:
    from mcp import MCPError

    from codex_control_plane_mcp.doors.cli.client import ToolRefused, connected

    turns: int | None = None
    try:
        with anyio.fail_after(ASKING_SECONDS):
            async with connected(environ, settings.state_db) as server:
                turns = (await server.health()).active_work.active_turn_count
    except* (OSError, TimeoutError, ToolRefused, MCPError):
        pass
    return turns


async def _turns_of_the_app_server(settings: Settings) -> int | None:
    try:
        with anyio.fail_after(ASKING_SECONDS):
            async with supervisor_of(settings).connect() as session:
                return (await session.diagnostics()).active_turns
    except (TimeoutError, CodexError):
        return None


async def end_worker(settings: Settings, patience_seconds: float = WORKER_SECONDS) -> Ended:
    """Ask the worker to leave, and wait until its state is free."""
    if not worker_runs(settings):
        return Ended(End.NOT_RUNNING)
    process = worker_process(settings)
    if process is None:
        return Ended(End.NOT_PROVEN)
    terminate(process)
    with anyio.move_on_after(patience_seconds):
        while worker_runs(settings) or is_alive(process):  # noqa: ASYNC110 - see PAUSE_SECONDS
            await anyio.sleep(PAUSE_SECONDS)
        return Ended(End.ENDED, process.pid)
    return Ended(End.ENDING, process.pid)


async def end_app_server(
    settings: Settings, seen: Identity | None, patience_seconds: float = APP_SERVER_SECONDS
) -> Ended:
    """Ask our app-server to end after its turns, and wait for it. `seen`: the one that ran before
    the worker left, which ends an idle one by itself."""
    present = own_app_server(settings)
    if present is None:
        return gone(seen)
    is_gone = await supervisor_of(settings).drain(patience_seconds)
    return Ended(End.ENDED if is_gone else End.ENDING, present.pid)


def gone(seen: Identity | None) -> Ended:
    """What to say of a process that lives no more."""
    return Ended(End.NOT_RUNNING) if seen is None else Ended(End.ENDED, seen.pid)
