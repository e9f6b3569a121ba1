"""Runs the commands as a person would: as processes, in an environment of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

ADMIN = "codex_control_plane_mcp.doors.cli.admin"
HOOKS = "codex_control_plane_mcp.doors.cli.hooks"

#: The demo takes three seconds; a loaded machine gets its time.
PATIENCE = 120

Done = subprocess.CompletedProcess[str]
#: Type a command; its exit code and what it said.
Typed = Callable[..., tuple[int, str, str]]


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment without the person's settings; what is made goes below `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CODEX_")}
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    own = {
        "CODEX_HOME": str(folder / "codex-home"),
        "CODEX_MCP_STATE_DB": str(folder / "state" / "state.sqlite3"),
        "TMPDIR": str(folder / "tmp"),
        "TEMP": str(folder / "tmp"),
        "COLUMNS": "100",
    }
    return kept | own | more


def run(module: str, *arguments: str, env: Mapping[str, str]) -> Done:
    """The finished command; its standard input is no terminal."""
    return subprocess.run(
        command(module, *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
        env=env,
    )


def told(done: tuple[int, str, str]) -> dict[str, Any]:
    """What a command that went well says to a program."""
    code, stdout, stderr = done
    assert code == 0, stdout + stderr
    (line,) = stdout.splitlines()
    document: dict[str, Any] = json.loads(line)
    return document


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes that name this folder, or work in it."""
    return list(_processes_of(str(folder)))


def _processes_of(folder: str) -> Iterator[str]:
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        try:
            if process.pid in ours or process.status() == psutil.STATUS_ZOMBIE:
                continue
            line = " ".join(process.cmdline())
            if folder in line or process.cwd().startswith(folder):
                yield f"{process.pid}: {line}"
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
