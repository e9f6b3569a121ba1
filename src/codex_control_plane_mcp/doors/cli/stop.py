"""`stop`: end what runs for one state, and say exactly what was done."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from codex_control_plane_mcp import paths, settings
from codex_control_plane_mcp.doors.cli.ending import (
    ENDING_CUTS_TURNS,
    End,
    Ended,
    end_app_server,
    end_worker,
    gone,
    own_app_server,
    running_turns,
)
from codex_control_plane_mcp.settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """What the person wants to end, and whether turns matter."""

    force: bool = False
    worker_only: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found and done."""

    state_db: Path
    #: None: nobody could say.
    turns: int | None
    refused: bool
    worker: Ended
    app_server: Ended

    @property
    def is_success(self) -> bool:
        left = self.app_server.end is End.LEFT_RUNNING
        return not self.refused and self.worker.is_gone and (self.app_server.is_gone or left)


def run(state_db: str | None, asked: Asked, *, as_json: bool) -> int:
    chosen = settings.load(os.environ)
    if state_db is not None:
        chosen = replace(chosen, state_db=Path(paths.canonical(state_db)))
    outcome = anyio.run(stop, chosen, asked)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(outcome)) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(chosen, outcome))
    return 0 if outcome.is_success else 1


async def stop(chosen: Settings, asked: Asked) -> Outcome:
    """End the worker and the app-server of a state, unless turns run and nobody insists."""
    turns = await running_turns(chosen, os.environ)
    left = Ended(End.LEFT_RUNNING)
    if turns != 0 and not asked.force and not _is_harmless(chosen, asked):
        return Outcome(chosen.state_db, turns, refused=True, worker=left, app_server=left)
    seen = own_app_server(chosen)
    worker = await end_worker(chosen)
    # A worker that stays would start another app-server with its next task.
    if worker.is_gone and not asked.worker_only:
        app_server = await end_app_server(chosen, seen)
    else:
        app_server = left if own_app_server(chosen) else gone(seen)
    return Outcome(chosen.state_db, turns, refused=False, worker=worker, app_server=app_server)


def _is_harmless(chosen: Settings, asked: Asked) -> bool:
    """Without its worker an app-server goes on, unless it is the worker's own child."""
    return asked.worker_only and chosen.app_server != "stdio"


def _lines(chosen: Settings, outcome: Outcome) -> Iterator[str]:
    yield f"state       {outcome.state_db}"
    if outcome.refused:
        yield from _refusal(outcome.turns)
        return
    yield f"worker      {_in_words(outcome.worker)}"
    yield f"app-server  {_in_words(outcome.app_server)}"
    if outcome.worker.end is End.NOT_PROVEN:
        yield "The worker's process could not be proven to be ours, so it was left alone."
    if outcome.worker.end is End.ENDING:
        yield "The worker was asked to leave and is still there; run this again in a moment."
    if outcome.app_server.end is End.ENDING:
        yield "Codex finishes its turns first. It was asked to end, and will; see the log in"
        yield f"  {chosen.app_server_folder}"


def _refusal(turns: int | None) -> Iterator[str]:
    if turns is None:
        yield "Nothing was stopped: it could not be found out whether turns run."
    else:
        yield f"Nothing was stopped: {turns} {'turn runs' if turns == 1 else 'turns run'}."
    yield "  --worker-only  ends the worker; Codex goes on, and the next worker takes its turns up"
    if ENDING_CUTS_TURNS:
        yield "  --force        ends both; turns that run are cut off"
    else:
        yield "  --force        ends both; Codex finishes its turns first, with nobody listening"


def _in_words(ended: Ended) -> str:
    pid = "" if ended.pid is None else f" (pid {ended.pid})"
    match ended.end:
        case End.NOT_RUNNING:
            return "was not running"
        case End.ENDED:
            return f"ended{pid}"
        case End.ENDING:
            return f"is still ending{pid}"
        case End.NOT_PROVEN:
            return "runs, not proven to be ours"
        case End.LEFT_RUNNING:
            return "left as it is"


def _as_json(outcome: Outcome) -> dict[str, object]:
    return {
        "ok": outcome.is_success,
        "stateDb": str(outcome.state_db),
        "turnsRunning": outcome.turns,
        "refused": outcome.refused,
        "worker": {"end": outcome.worker.end, "pid": outcome.worker.pid},
        "appServer": {"end": outcome.app_server.end, "pid": outcome.app_server.pid},
    }
