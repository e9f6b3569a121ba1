"""Who takes part in these tests: supervisors, threads and turns, and those who wait for them."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

import anyio
import psutil
import pytest

from codex_control_plane_mcp.codex.inbox import Inbox, Said
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.supervisor import Supervisor
from codex_control_plane_mcp.codex.words import verbs
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.processes import Identity, is_alive

NewSupervisor: TypeAlias = Callable[..., Supervisor]
T = TypeVar("T")

PATIENCE_SECONDS = 60


async def until(inbox: Inbox, kind: type[T], seen: list[Said] | None = None) -> T:
    """The next thing of this kind; what comes with it goes to `seen`."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            batch = await inbox.receive_many()
            if seen is not None:
                seen.extend(batch)
            for said in batch:
                if isinstance(said, kind):
                    return said


async def new_thread(session: CodexSession, project: Path) -> ThreadId:
    begun = await session.start_thread(
        verbs.StartThread(str(project), sandbox="read-only", approval_policy="on-request")
    )
    return begun.thread.id


def ask(thread_id: ThreadId, prompt: str) -> verbs.StartTurn:
    return verbs.StartTurn(thread_id, (verbs.Text(prompt),), client_user_message_id="mine")


def install(path: Path, first: str = "") -> Path:
    """Install a Codex at `path`, replacing the one that was there: the real one, behind a script
    that does something else `first`."""
    codex_cli_bin = pytest.importorskip("codex_cli_bin")
    new = path.with_suffix(".new")
    new.write_text(f'#!/bin/sh\n{first}\nexec "{codex_cli_bin.bundled_codex_path()}" "$@"\n')
    new.chmod(0o755)
    new.replace(path)
    return path


async def until_gone(process: Identity) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while is_alive(process):  # noqa: ASYNC110 - nothing tells us when a stranger ends
            await anyio.sleep(0.01)


async def end_app_servers_of(codex_home: Path) -> None:
    """See every app-server of this CODEX_HOME off, recorded or not: the home is this test's own."""
    ours = [process for process in psutil.process_iter() if _home_of(process) == str(codex_home)]
    for process in ours:
        process.terminate()
    _, alive = await anyio.to_thread.run_sync(lambda: psutil.wait_procs(ours, timeout=10))
    for process in alive:
        process.kill()
    assert not alive, "an app-server did not drain"


def _home_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("CODEX_HOME")
    except psutil.Error:
        return None
