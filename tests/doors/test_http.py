"""MCP over HTTP: the same tools, for who has the token, on this machine, in both eras."""

from __future__ import annotations

import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2 as httpx
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from codex_control_plane_mcp.doors.mcp.http import Door, serve_http, token_of
from codex_control_plane_mcp.doors.mcp.server import make_server
from tests.desk.reception import Reception, reception
from tests.doors.clients import task
from tests.doors.eras import both_eras, call

TOKEN = "a-token-of-this-state"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TAKES = {"Accept": "application/json, text/event-stream"}


@pytest.fixture
def anyio_backend() -> str:
    """Real sockets take real time."""
    return "asyncio"


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Reception]:
    with reception(tmp_path, threads=True) as opened:
        yield opened


@asynccontextmanager
async def served(at: Reception) -> AsyncIterator[int]:
    """The port of the door."""
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            port = await group.start(
                serve_http, make_server(at.desk), 0, lambda manager: Door(manager, TOKEN)
            )
            yield port
            group.cancel_scope.cancel()


@asynccontextmanager
async def client_at(port: int, era: str) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(headers=BEARER) as bearing:
        url = f"http://127.0.0.1:{port}/mcp"
        async with Client(streamable_http_client(url, http_client=bearing), mode=era) as client:
            yield client


@both_eras
async def test_the_same_tools_do_the_same(at: Reception, era: str) -> None:
    async with served(at) as port, client_at(port, era) as client:
        listed = [tool.name for tool in (await client.list_tools()).tools]
        assert "codex_submit_task" in listed
        receipt = await call(client, "codex_submit_task", **task(at))
        assert receipt["status"] == "queued"
        id_ = receipt["operationId"]
        waited = await call(client, "codex_wait", operation_ids=[id_], wait_seconds=0.1)
        assert waited["timedOut"]


async def status(port: int, path: str = "/mcp", **headers: str) -> int:
    async with httpx.AsyncClient(headers=TAKES) as client:
        url = f"http://127.0.0.1:{port}{path}"
        return (await client.post(url, json=PING, headers=headers)).status_code


async def test_who_has_no_token_or_is_not_from_here_stays_outside(at: Reception) -> None:
    async with served(at) as port:
        assert await status(port) == 401
        assert await status(port, Authorization="Bearer wrong") == 401
        assert await status(port, "/other", **BEARER) == 404
        # A page of elsewhere whose name points here, and a page of another origin.
        assert await status(port, **BEARER, Host=f"evil.example:{port}") == 421
        assert await status(port, **BEARER, Origin="https://evil.example") == 403
        assert await status(port, **BEARER, Host=f"127.0.0.1:{port + 1}") == 421
        assert await status(port, **BEARER) == 400  # inside, and no session yet


async def test_a_port_that_is_taken_is_said_to_be(at: Reception) -> None:
    async with served(at) as port:
        with pytest.raises(OSError, match="in use"):
            await serve_http(make_server(at.desk), port, lambda manager: Door(manager, TOKEN))


def test_the_token_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    state_db = tmp_path / "state.sqlite3"
    token = token_of(state_db)
    assert len(token) >= 40
    assert token_of(state_db) == token
    if sys.platform == "win32":
        return  # the folder's owner is, there
    mode = (tmp_path / "state.sqlite3.http.token").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
