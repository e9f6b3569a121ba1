"""Writes what the pipe may answer without a worker, as a worker answers it; see `surface`.

make docs
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from codex_control_plane_mcp import __version__, rendezvous
from codex_control_plane_mcp.doors.mcp.tools import offered
from codex_control_plane_mcp.settings import load
from codex_control_plane_mcp.surface import FILE

Json = dict[str, Any]

STATEFUL: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STATELESS: Final = ("2026-07-28",)
LISTS: Final = ("tools/list", "prompts/list", "resources/templates/list")
END_SECONDS: Final = 20.0

_CLIENT: Final = {"name": "make docs", "version": "1"}


class Session:
    """A connection to a worker, as a pipe has one."""

    def __init__(self, worker: rendezvous.Worker) -> None:
        self._socket, self._received = worker.socket, worker.early

    def ask(self, method: str, params: Mapping[str, object]) -> Json:
        self._send({"id": 1, "method": method, "params": params})
        while b"\n" not in self._received:
            self._received += self._socket.recv(1 << 16)
        line, _, self._received = self._received.partition(b"\n")
        result: Json = json.loads(line)["result"]
        return result

    def initialize(self, version: str) -> Json:
        result = self.ask("initialize", handshake(version))
        self._send({"method": "notifications/initialized"})
        return result

    def _send(self, message: Mapping[str, object]) -> None:
        self._socket.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def handshake(version: str) -> Json:
    """The parameters of `initialize`."""
    return {"protocolVersion": version, "capabilities": {}, "clientInfo": _CLIENT}


def statelessly(version: str) -> Json:
    """The parameters of a request that says who asks."""
    said = {"protocolVersion": version, "clientInfo": _CLIENT, "clientCapabilities": {}}
    return {"_meta": {f"io.modelcontextprotocol/{name}": value for name, value in said.items()}}


def main() -> None:
    """The script."""
    with worker() as state_db:
        made = surface(state_db)
    Path(FILE).write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{Path(FILE).name}\n")


def surface(state_db: str) -> Json:
    """What the worker of this state answers; the versions of an era differ in nothing else."""
    with session(state_db) as stateful:
        greeting = stateful.initialize(STATEFUL[-1])
        lists = {method: stateful.ask(method, {}) for method in LISTS}
    with session(state_db) as stateless:
        listed = stateless.ask("tools/list", statelessly(STATELESS[-1]))
        discovered = stateless.ask("server/discover", statelessly(STATELESS[-1]))
    return {
        "release": __version__,
        "tools": offered(load({}).toolsets).version.tool_surface_hash,
        "stateful": {"versions": STATEFUL, "initialize": greeting, "lists": lists},
        "stateless": {
            "versions": STATELESS,
            "server/discover": discovered,
            "with_each_list": {
                name: value for name, value in listed.items() if name not in lists["tools/list"]
            },
        },
    }


@contextmanager
def session(state_db: str) -> Iterator[Session]:
    """A connection of its own, closed afterwards."""
    worker = rendezvous.connect(state_db)
    if worker is None:
        raise ConnectionRefusedError(f"no worker answers for {state_db}")
    try:
        yield Session(worker)
    finally:
        worker.socket.close()


@contextmanager
def worker() -> Iterator[str]:
    """A worker with the usual settings; gives the path of its state."""
    with tempfile.TemporaryDirectory(prefix="cxcp-") as folder:
        state_db = str(Path(folder, "state.sqlite3"))
        ours = {name: value for name, value in os.environ.items() if "_MCP_" not in name}
        with subprocess.Popen(
            rendezvous.worker_command(state_db),
            env={**ours, "CODEX_HOME": folder},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                (word,) = process.stdout or ["nothing"]
                if word != "ready\n":
                    raise ChildProcessError(f"the worker said {word}")
                yield state_db
            finally:
                process.terminate()
                process.wait(END_SECONDS)


if __name__ == "__main__":
    main()
