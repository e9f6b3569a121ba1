"""A minimal MCP client: one process, one line out, one line in.

The official SDK's client costs milliseconds of its own for each call; this one costs a few dozen
microseconds, so what is measured is the server. One request at a time; not for production.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

#: Longer than any call may take; a benchmark that hangs should say so.
CLOSE_SECONDS = 10.0

_INITIALIZE: Final[Mapping[str, object]] = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "benchmarks", "version": "1"},
}


class Refused(Exception):
    """The server answered with an error."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one call, and what it took."""

    result: Mapping[str, Any]
    seconds: float
    #: `time.perf_counter()` when the line had been read.
    at: float
    line_bytes: int

    @property
    def content(self) -> Mapping[str, Any]:
        """The result of a tool."""
        content: Mapping[str, Any] = self.result["structuredContent"]
        return content

    @property
    def text_bytes(self) -> int:
        """What a model reads of the result."""
        return sum(len(part.get("text", "").encode()) for part in self.result["content"])


class Client:
    """A started server that has answered `initialize`."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._last_id = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def request(self, method: str, params: Mapping[str, object]) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._last_id += 1
        message = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        line = json.dumps(message).encode() + b"\n"
        started = time.perf_counter()
        self._process.stdin.write(line)
        self._process.stdin.flush()
        while True:
            answer = self._process.stdout.readline()
            at = time.perf_counter()
            if not answer:
                raise Refused(f"{method}: the server hung up")
            told = json.loads(answer)
            if told.get("id") == self._last_id and "method" not in told:
                break
        if "error" in told:
            raise Refused(f"{method}: {told['error']}")
        return Answer(told["result"], at - started, at, len(answer))

    def call(self, tool: str, **arguments: object) -> Answer:
        answer = self.request("tools/call", {"name": tool, "arguments": arguments})
        if answer.result.get("isError"):
            raise Refused(f"{tool}: {answer.result['content']}")
        return answer

    def notify(self, method: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", "method": method}).encode() + b"\n")
        self._process.stdin.flush()


@contextmanager
def started(
    argv: Sequence[str], environ: Mapping[str, str], *, quiet: bool = False
) -> Iterator[tuple[Client, float]]:
    """Start a server; gives the client, and the seconds from the start to its first answer."""
    log = subprocess.DEVNULL if quiet else None
    began = time.perf_counter()
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environ
    ) as process:
        client = Client(process)
        try:
            took = client.request("initialize", _INITIALIZE).at - began
            client.notify("notifications/initialized")
            yield client, took
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
