"""The two ends around a pipe, played by the test: the MCP client and the worker.

The pipe between them is the real one, in a process of its own. Every wait is bounded.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from codex_control_plane_mcp import rendezvous
from codex_control_plane_mcp.framing import LineSplitter

PATIENCE = 15.0

Message = dict[str, Any]

INITIALIZE: Message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"x": "é"}}
INITIALIZED: Message = {"jsonrpc": "2.0", "method": "notifications/initialized"}

#: Starts a worker for nobody: the fake one is there or it is not.
NO_WORKER = [sys.executable, "-c", "print('error: there is none in this test')"]
STAND_IN = [sys.executable, str(Path(__file__).with_name("stand_in_worker.py"))]

RUN_PIPE = """
import os, sys
from codex_control_plane_mcp import pipe
sys.exit(pipe.run(sys.argv[1], os.environ, sys.argv[2:]))
"""


def request(request_id: int | str, method: str, **params: object) -> Message:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def call(request_id: int | str, tool: str, **arguments: object) -> Message:
    return request(request_id, "tools/call", name=tool, arguments=arguments)


def answer(request_id: int | str, **result: object) -> Message:
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


class Wire:
    """Lines in both directions, over one or two descriptors."""

    def __init__(self, receive_fd: int, send_fd: int) -> None:
        self._receive_fd = receive_fd
        self._send_fd = send_fd
        self._lines = LineSplitter(64 * 1024 * 1024)
        self._ready: list[bytes] = []

    def send(self, *messages: Message) -> None:
        self.send_raw(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def send_raw(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            assert select.select([], [self._send_fd], [], PATIENCE)[1], "nobody reads"
            rest = rest[os.write(self._send_fd, rest) :]

    def receive(self) -> Message:
        line = self.receive_raw()
        assert line is not None, "the other side hung up"
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    def receive_raw(self) -> bytes | None:
        """The next line; None when the other side is done."""
        while not self._ready:
            assert select.select([self._receive_fd], [], [], PATIENCE)[0], "nothing came"
            try:
                chunk = os.read(self._receive_fd, 65536)
            except ConnectionResetError:
                return None
            if not chunk:
                return None
            for line in self._lines.feed(chunk):
                assert isinstance(line, bytes)
                self._ready.append(line)
        return self._ready.pop(0)


class Client(Wire):
    """An MCP client that has started a pipe."""

    def __init__(self, *command: str, stdin: int = subprocess.PIPE) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command], stdin=stdin, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        own = os.open(os.devnull, os.O_WRONLY)
        if self.process.stdin is not None:
            os.dup2(self.process.stdin.fileno(), own, inheritable=False)
            self.process.stdin.close()
            os.set_blocking(own, False)
        super().__init__(self.process.stdout.fileno(), own)
        self._open = True

    def close_stdin(self) -> None:
        if self._open:
            self._open = False
            os.close(self._send_fd)

    def close_stdout(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE)

    def shake_hands(self, worker: FakeWorker) -> Connection:
        self.send(INITIALIZE)
        connection = worker.accept()
        assert connection.receive() == INITIALIZE
        connection.send(answer(0, serverInfo="first"))
        assert self.receive() == answer(0, serverInfo="first")
        self.send(INITIALIZED)
        assert connection.receive() == INITIALIZED
        return connection

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close_stdin()
        self.process.kill()
        self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()


def pipe_client(state_db: str, worker_argv: list[str] = NO_WORKER) -> Client:
    return Client("-c", RUN_PIPE, state_db, *worker_argv)


class Connection(Wire):
    """A pipe's connection to the fake worker."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected.fileno(), connected.fileno())
        self.socket = connected

    def close(self) -> None:
        self.socket.close()


class FakeWorker:
    """A worker whose every word the test speaks itself."""

    def __init__(self, state_db: str, *, tcp: bool = False) -> None:
        self.state_db = state_db
        self.repeatable = ["codex_get_operation_status"]
        self.keyed = ["codex_submit_task"]
        self.tools = "their hash"
        self._connections: list[socket.socket] = []
        if tcp:
            self.descriptor = rendezvous.Descriptor(
                kind="tcp", host="127.0.0.1", token="a-secret", pid=os.getpid()
            )
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.descriptor.port = self._listener.getsockname()[1]
        else:
            self.descriptor = rendezvous.choose_address(state_db)
            self.descriptor.pid = os.getpid()
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self.descriptor.path)
            self._listener.listen()
        rendezvous.write_descriptor(state_db, self.descriptor)

    def accept(self) -> Connection:
        connection = self.accept_silently()
        line = connection.receive_raw()
        assert line is not None
        rendezvous.read_pipe_greeting(line, self.descriptor.token)
        connection.send_raw(rendezvous.worker_greeting(self.repeatable, self.keyed, self.tools))
        return connection

    def accept_silently(self) -> Connection:
        self._listener.settimeout(PATIENCE)
        connected, _ = self._listener.accept()
        connected.setblocking(False)
        self._connections.append(connected)
        return Connection(connected)

    def is_called(self) -> bool:
        """Does somebody wait to be accepted?"""
        return bool(select.select([self._listener], [], [], 0)[0])

    def close(self) -> None:
        """Gone, as after a kill: nothing is tidied up."""
        for connected in self._connections:
            connected.close()
        self._listener.close()

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class StandIns:
    """The real worker processes that pipes started for one state, and their end."""

    def __init__(self, state_db: str) -> None:
        self.state_db = state_db

    @property
    def command(self) -> list[str]:
        return [*STAND_IN, self.state_db]

    @property
    def started(self) -> list[int]:
        try:
            return [int(pid) for pid in Path(self.state_db + ".starts").read_text().split()]
        except FileNotFoundError:
            return []

    def kill_all(self) -> None:
        for pid in self.started:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
