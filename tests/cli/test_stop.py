"""`stop`: it ends what is ours, spares what runs, and says exactly what it did."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from anyio import fail_after
from anyio.lowlevel import checkpoint

from codex_control_plane_mcp import settings
from codex_control_plane_mcp.doors.cli import ending
from codex_control_plane_mcp.doors.cli.client import Operation, Server, connected
from codex_control_plane_mcp.locks import FileLock
from codex_control_plane_mcp.rendezvous import (
    connect_or_start,
    worker_lock_path,
)
from codex_control_plane_mcp.scripted_model import (
    ScriptedModel,
    serving_in_thread,
    write_codex_home,
)
from tests.cli.commands import ADMIN, PATIENCE, environment, processes_of, run

Env = dict[str, str]


def stop(env: Env, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = run(ADMIN, "stop", "--json", *arguments, env=env)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def state_of(env: Env) -> Path:
    return Path(env["CODEX_MCP_STATE_DB"])


@asynccontextmanager
async def client(env: Env) -> AsyncIterator[Server]:
    with fail_after(PATIENCE):
        async with connected(env, state_of(env)) as server:
            yield server


@pytest.fixture
def env(folder: Path) -> Iterator[Env]:
    """An own state; whatever still runs for it afterwards is ended, and the test has failed."""
    env = environment(folder, CODEX_MCP_APP_SERVER="private", CODEX_ALLOWED_ROOTS=str(folder))
    yield env
    left = processes_of(folder)
    if left:
        run(ADMIN, "stop", "--force", env=env)
    assert left == []


def test_a_state_without_a_worker_has_nothing_to_end(env: Env) -> None:
    code, told = stop(env)
    assert (code, told["ok"]) == (0, True)
    assert told["worker"] == {"end": "not_running", "pid": None}
    assert told["appServer"] == {"end": "not_running", "pid": None}
    assert "was not running" in run(ADMIN, "stop", env=env).stdout
    assert not state_of(env).parent.exists()


async def test_an_idle_worker_ends_and_its_state_is_free(env: Env) -> None:
    async with client(env) as server:
        await server.health()
    code, told = stop(env)
    assert (code, told["worker"]["end"], told["turnsRunning"]) == (0, "ended", 0)
    assert stop(env)[1]["worker"]["end"] == "not_running"


def test_the_state_may_be_named(env: Env, folder: Path) -> None:
    other = folder / "other" / "state.sqlite3"
    assert stop(env, "--state-db", str(other))[1]["stateDb"] == str(other.resolve())


@pytest.fixture
def starting(env: Env) -> Iterator[Thread]:
    """A client's pipe, on its way to a worker that does not run yet."""
    pipe = Thread(target=lambda: connect_or_start(str(state_of(env)), env).socket.close())
    pipe.start()
    yield pipe
    pipe.join()


async def test_a_worker_that_is_just_being_started_is_asked_as_soon_as_it_can_answer(
    env: Env, starting: Thread
) -> None:
    chosen = settings.load(env)
    with fail_after(PATIENCE):
        while not ending.worker_runs(chosen):
            await checkpoint()
        assert ending.worker_process(chosen) is None
        assert await ending.running_turns(chosen, env) == 0
        starting.join()
        assert (await ending.end_worker(chosen)).end is ending.End.ENDED


def test_a_worker_that_is_not_proven_to_be_ours_is_left_alone(env: Env) -> None:
    state_of(env).parent.mkdir()
    with FileLock(worker_lock_path(str(state_of(env)))):
        code, told = stop(env, "--force")
    assert (code, told["ok"], told["worker"]["end"]) == (1, False, "not_proven")


# With a turn that runs


@pytest.fixture
def model(env: Env) -> Iterator[ScriptedModel]:
    pytest.importorskip("codex_cli_bin")
    with serving_in_thread() as model:
        write_codex_home(Path(env["CODEX_HOME"]), model.base_url)
        yield model
        # A turn that still waits here would keep its app-server from ending.
        model.release("the-end")


async def submit(server: Server, cwd: Path) -> Operation:
    return await server.submit(
        operation_type="start_chat", cwd=str(cwd), message="hold the-end\nsay It was worth it."
    )


@pytest.mark.real
async def test_while_a_turn_runs_nothing_is_stopped(
    env: Env, model: ScriptedModel, folder: Path
) -> None:
    async with client(env) as server:
        operation = await submit(server, folder)
        await model.arrived("the-end")
        code, told = stop(env)
        assert (code, told["refused"], told["turnsRunning"]) == (1, True, 1)
        assert "--worker-only" in run(ADMIN, "stop", env=env).stdout
        model.release("the-end")
        while not (
            operation := await server.status(operation.operation_id, wait_seconds=5)
        ).is_final:
            pass
    assert operation.status == "completed"
    assert stop(env)[0] == 0


@pytest.mark.real
async def test_without_its_worker_codex_goes_on_and_the_next_worker_reads_the_report(
    env: Env, model: ScriptedModel, folder: Path
) -> None:
    async with client(env) as server:
        operation = await submit(server, folder)
        await model.arrived("the-end")
    code, told = stop(env, "--worker-only")
    assert (code, told["worker"]["end"], told["appServer"]["end"]) == (0, "ended", "left_running")
    model.release("the-end")
    async with client(env) as server:
        while not (
            operation := await server.status(operation.operation_id, wait_seconds=5)
        ).is_final:
            pass
    assert operation.status == "completed"
    assert operation.final_report is not None
    assert operation.final_report.text == "It was worth it."
    assert stop(env)[0] == 0
