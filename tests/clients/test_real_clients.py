"""The real clients take what `init` tells them, each installed from its registry.

They are large (npm, PyPI): `make test-clients` runs it, and docs/clients.md holds what came of it.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import ADMIN, environment
from tests.cli.commands import command as python
from tests.cli.conftest import folder as folder
from tests.clients.installs import CLAUDE_CODE, CODEX, HERMES, OPENCLAW, command, npm, pip
from tests.installing import run

pytestmark = pytest.mark.clients


def told(folder: Path, commands: str, client: str) -> Callable[..., str]:
    """Tell the client twice, of two roots; gives what runs it, in the same home."""
    mine = {name: str(folder / name.lower()) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    env = environment(folder, HOME=str(folder), **mine)
    env["PATH"] = f"{commands}{os.pathsep}{env['PATH']}"
    (folder / "codex-home").mkdir()
    for root in ("first", "second"):
        (folder / root).mkdir()
        wanted = ("--projects-root", str(folder / root), "--write", "--client", client)
        run(*python(ADMIN, "init", *wanted), env=env)

    def runs(*line: str) -> str:
        return run(command(line[0], commands), *line[1:], env=env)

    return runs


def left(folder: Path) -> None:
    """End the worker that a client may have started while it looked at the server."""
    run(*python(ADMIN, "stop"), env=environment(folder))


@pytest.fixture(autouse=True)
def _nothing_runs_on(folder: Path) -> object:
    yield
    left(folder)


def test_codex_takes_it(folder: Path) -> None:
    runs = told(folder, npm(CODEX), "codex")
    shown = json.loads(runs("codex", "mcp", "get", "codex-control-plane", "--json"))
    assert shown["enabled"] is True
    assert shown["transport"]["env"]["CODEX_PROJECTS_ROOT"] == str(folder / "second")


def test_claude_code_takes_it_and_connects(folder: Path) -> None:
    runs = told(folder, npm(CLAUDE_CODE), "claude-code")
    assert "Connected" in runs("claude", "mcp", "list")
    stored = json.loads((folder / ".claude.json").read_text())
    (server,) = stored["mcpServers"].values()
    assert server["env"]["CODEX_PROJECTS_ROOT"] == str(folder / "second")


def test_openclaw_takes_it_and_lists_its_tools(folder: Path) -> None:
    runs = told(folder, npm(OPENCLAW), "openclaw")
    shown = runs("openclaw", "mcp", "show", "codex-control-plane")
    assert str(folder / "second") in shown
    assert " tools" in runs("openclaw", "mcp", "probe")


def test_hermes_takes_it_and_connects(folder: Path) -> None:
    runs = told(folder, pip(HERMES), "hermes")
    assert "codex_submit_task" in runs("hermes", "mcp", "test", "codex-control-plane")
    assert str(folder / "second") in (folder / ".hermes" / "config.yaml").read_text()
