"""Beside a thin wrapper from npm: an MCP server that runs `codex exec` for each call.

It is the other way to hand Codex a task: it keeps nothing, and its call lasts as long as the turn.
What it is held against: to connect, the memory of each client, what its tools say, and one short
task from the call to the report that the client has read.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.client import Client, started
from benchmarks.figures import Figure, spread
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, Stage, stage
from codex_control_plane_mcp.codex.binary import find_binary

PACKAGE = "codex-mcp-server"
VERSION = "1.4.10"
MEGABYTE = 1_000_000
#: Bytes of English and JSON for each token, as a rule of thumb.
BYTES_A_TOKEN = 4


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    if shutil.which("npm") is None:
        sys.stderr.write("npm is not here: no thin wrapper to measure\n")
        return
    with stage(installation) as place:
        argv = _installed(place.folder / "npm")
        theirs = replace(installation, server=argv)
        yield from _starts(place, theirs, rounds.of(20, 5))
        yield from _task(place, theirs, rounds.of(15, 3))


def _installed(folder: Path) -> tuple[str, ...]:
    folder.mkdir()
    wanted = f"{PACKAGE}@{VERSION}"
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder)]
    subprocess.run([*command, wanted], check=True, stdout=subprocess.DEVNULL)
    return (str(folder / "node_modules" / ".bin" / PACKAGE),)


def _starts(place: Stage, theirs: Installation, count: int) -> Iterator[Figure]:
    took: dict[str, list[float]] = {"ours": [], "theirs": []}
    weight: dict[str, list[float]] = {"ours": [], "theirs": []}
    listed: dict[str, int] = {}
    with place.client():
        for _ in range(count):
            for name, installation in (("ours", place.installation), ("theirs", theirs)):
                with _started(installation, place) as (client, seconds):
                    answer = client.request("tools/list", {})
                    took[name].append(seconds * 1000)
                    weight[name].append(psutil.Process(client.pid).memory_info().rss / MEGABYTE)
                    listed[name] = answer.line_bytes
    yield _figure("connect, worker up", "ms", took)
    yield _figure("memory of each client (RSS)", "MB", weight)
    tokens = " and ".join(f"{size / BYTES_A_TOKEN:,.0f}" for size in listed.values())
    yield _figure(
        "tools/list",
        "kB",
        {name: [size / 1000] for name, size in listed.items()},
        f"some {tokens} tokens, at {BYTES_A_TOKEN} bytes each",
    )


def _task(place: Stage, theirs: Installation, count: int) -> Iterator[Figure]:
    took: dict[str, list[float]] = {"ours": [], "theirs": []}
    with ExitStack() as stack:
        ours = stack.enter_context(place.client())
        other, _ = stack.enter_context(_started(theirs, place))
        place.do(ours, "Begin.\nsay hello")
        for number in range(count):
            began = time.perf_counter()
            operation_id = place.submit(ours, f"Task {number}.\nsay hello")
            while True:
                seen = ours.call(
                    "codex_get_operation_status", operation_id=operation_id, wait_seconds=45
                )
                if seen.content["status"] == "completed":
                    break
            took["ours"].append(time.perf_counter() - began)
            began = time.perf_counter()
            answer = other.call(
                "codex",
                prompt=f"Wrapped {number}.\nsay hello",
                model="gpt-5.3-codex",
                workingDirectory=str(place.project),
            )
            assert "hello" in str(answer.result), answer.result
            took["theirs"].append(time.perf_counter() - began)
    yield _figure("a task of one word, to its report", "s", took)


@contextmanager
def _started(installation: Installation, place: Stage) -> Iterator[tuple[Client, float]]:
    """It looks for Codex on the PATH only, and tells its log to standard error."""
    binaries = place.folder / "bin"
    if not binaries.exists():
        binaries.mkdir()
        (binaries / "codex").symlink_to(find_binary(None))
    environ = {**place.environ, "PATH": f"{binaries}:{place.environ['PATH']}"}
    with started(installation.server, environ, quiet=True) as both:
        yield both


def _figure(what: str, unit: str, values: dict[str, list[float]], note: str = "") -> Figure:
    return Figure(
        what=f"{what}, ours and {PACKAGE}",
        unit=unit,
        ours=spread(values["ours"]),
        beside=spread(values["theirs"]),
        beside_is=f"{PACKAGE} {VERSION}",
        note=note,
    )
