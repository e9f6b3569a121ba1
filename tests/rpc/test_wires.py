"""Wires to real processes and sockets: a child on stdio, a WebSocket on a unix socket."""

import sys
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.server import ServerConnection, serve, unix_serve

from codex_control_plane_mcp.rpc.stdio import running_child
from codex_control_plane_mcp.rpc.websocket import CannotConnect, connect_tcp, connect_unix
from codex_control_plane_mcp.rpc.wire import WireClosed


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


ECHO = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line); sys.stdout.flush()"


async def test_a_line_of_ten_megabytes_goes_to_a_child_and_back() -> None:
    with anyio.fail_after(20):
        async with running_child(python(ECHO)) as wire:
            big = "ü" * 5_000_000
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wire.send, big)
                assert await wire.receive() == big


async def test_lines_are_found_however_they_are_cut() -> None:
    code = r"""
import os, time
for piece in (b"on", b"e\r\ntw", b"o\n\n\nthree\nfo", b"ur\nleft over"):
    os.write(1, piece)
    time.sleep(0.01)
"""
    with anyio.fail_after(20):
        async with running_child(python(code)) as wire:
            assert [await wire.receive() for _ in range(4)] == ["one", "two", "three", "four"]
            with pytest.raises(WireClosed):
                await wire.receive()


async def test_a_child_that_floods_stderr_without_a_line_end_does_not_block() -> None:
    code = "import sys\nsys.stderr.write('x' * 3_000_000)\nprint(input())"
    with anyio.fail_after(20):
        async with running_child(python(code)) as wire:
            await wire.send("still here")
            assert await wire.receive() == "still here"


async def test_a_child_that_still_talks_is_seen_off() -> None:
    code = "import sys\nsys.stdin.read()\nsys.stdout.write('x' * 3_000_000)"
    with anyio.fail_after(20):
        async with running_child(python(code)):
            pass


async def test_a_child_that_left_is_heard_no_more() -> None:
    with anyio.fail_after(20):
        async with running_child(python("pass")) as wire:
            with pytest.raises(WireClosed):
                await wire.receive()


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def test_a_websocket_carries_ten_megabytes_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with anyio.fail_after(20):
        async with unix_serve(echo, path, max_size=None):
            wire = await connect_unix(path)
            await wire.send("x" * 10_000_000)
            assert len(await wire.receive()) == 10_000_000
            await wire.aclose()
            with pytest.raises(WireClosed) as caught:
                await wire.send("more")
            assert caught.value.nothing_written
            with pytest.raises(WireClosed):
                await wire.receive()


async def test_a_websocket_over_tcp_shows_its_token() -> None:
    seen: list[str | None] = []

    async def look(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request.headers.get("Authorization"))

    with anyio.fail_after(20):
        async with serve(look, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            wire = await connect_tcp(f"ws://127.0.0.1:{port}", "secret")
            with pytest.raises(WireClosed):
                await wire.receive()

    assert seen == ["Bearer secret"]


async def test_nobody_there_is_a_plain_error(tmp_path: Path) -> None:
    with anyio.fail_after(20):
        with pytest.raises(CannotConnect):
            await connect_unix(str(tmp_path / "nobody"))
        with pytest.raises(CannotConnect):
            await connect_unix("x" * 200)
        with pytest.raises(CannotConnect):
            await connect_tcp("ws://127.0.0.1:1", "t")
