"""The worker: one process for each state, started by the first pipe, gone when nobody needs it.

It is the only process that executes. Being killed costs nothing: what it had to know is in the
book, the turns are in the app-server, and the next worker goes on.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from codex_control_plane_mcp import __version__, settings
from codex_control_plane_mcp.errors import ControlPlaneError
from codex_control_plane_mcp.locks import FileLock
from codex_control_plane_mcp.paths import make_private_folder
from codex_control_plane_mcp.rendezvous import worker_lock_path

#: Exit codes beside 0: the settings are wrong; another worker has this state.
EXIT_SETTINGS = 2
EXIT_TAKEN = 3

#: A worker that leaves drains its app-server before it lets go of the lock.
LOCK_SECONDS = 12.0
LOCK_PAUSE_SECONDS = 0.02


def main(argv: Sequence[str] | None = None) -> int:
    """Run the worker of one state until nobody needs it, or SIGTERM."""
    given = _arguments().parse_args(argv)
    say = _Starter(waits=given.ready_stdout)
    try:
        chosen = settings.load(os.environ)
    except ControlPlaneError as error:
        return say.failed(error.message, EXIT_SETTINGS)
    if given.state_db is not None:
        chosen = replace(chosen, state_db=Path(given.state_db).absolute())
    make_private_folder(str(chosen.state_db.parent))
    lock = FileLock(worker_lock_path(str(chosen.state_db)))
    if not _acquired(lock):
        return say.failed("another worker has this state already", EXIT_TAKEN)
    try:
        # The SDK and the database take half a second to import: not before we know that we may.
        # Of what that makes nothing is garbage, then or later: it is not searched for any.
        gc.disable()
        from codex_control_plane_mcp.app.service import run

        gc.freeze()
        gc.enable()
        run(chosen, say.ready)
    except ControlPlaneError as error:
        return say.failed(error.message, EXIT_SETTINGS)
    finally:
        lock.release()
    return 0


def _acquired(lock: FileLock) -> bool:
    """Take the lock; its former holder may be just about to leave."""
    give_up_at = time.monotonic() + LOCK_SECONDS
    while not lock.acquire(blocking=False):
        if time.monotonic() > give_up_at:
            return False
        time.sleep(LOCK_PAUSE_SECONDS)
    return True


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="codex-control-plane-mcp-worker",
        description="Runs the tasks of one state. Pipes start it by themselves; by hand only for "
        "debugging or under a service manager.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--state-db", metavar="PATH", help="default: CODEX_MCP_STATE_DB")
    parser.add_argument(
        "--ready-stdout", action="store_true", help="say `ready` on standard output, then close it"
    )
    return parser


class _Starter:
    """Whoever started us, waiting for one line."""

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits

    def ready(self) -> None:
        self._say("ready")

    def failed(self, why: str, code: int) -> int:
        if self._waits:
            self._say(f"error: {' '.join(why.split())}")
        else:
            sys.stderr.write(f"codex-control-plane-mcp-worker: {why}\n")
        return code

    def _say(self, line: str) -> None:
        if self._waits:
            self._waits = False
            # A starter that died meanwhile is no reason not to work.
            with suppress(OSError):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
