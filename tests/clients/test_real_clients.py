"""The real clients take what `init` tells them, each installed from its registry.

They are large (npm, PyPI; OpenClaw wants a node of its own): `make test-clients` runs it, and
docs/clients.md holds what came of it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import ADMIN, command, environment
from tests.cli.conftest import folder as folder

pytestmark = pytest.mark.clients

#: A first install fetches hundreds of megabytes.
INSTALL_SECONDS = 900
NPM = ("npm", "install", "--no-audit", "--no-fund")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


def run(*line: object, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in line],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def told(folder: Path, commands: Path, client: str) -> Callable[..., str]:
    """Tell the client twice, of two roots; gives what runs it, in the same home."""
    mine = {name: str(folder / name.lower()) for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    env = environment(folder, HOME=str(folder), **mine)
    env["PATH"] = f"{commands}{os.pathsep}{env['PATH']}"
    (folder / "codex-home").mkdir()
    for root in ("first", "second"):
        (folder / root).mkdir()
        wanted = ("--projects-root", str(folder / root), "--write", "--client", client)
        run(*command(ADMIN, "init", *wanted), env=env)

    def runs(*line: str) -> str:
        program = shutil.which(line[0], path=str(commands))
        assert program is not None
        return run(program, *line[1:], env=env)

    return runs


def left(folder: Path) -> None:
    """End the worker that a client may have started while it looked at the server."""
    run(*command(ADMIN, "stop"), env=environment(folder))


@pytest.fixture(autouse=True)
def _nothing_runs_on(folder: Path) -> object:
    yield
    left(folder)


@pytest.fixture(scope="module")
def npm(installed: Path) -> Callable[..., Path]:
    if shutil.which("npm") is None:
        pytest.skip("npm is not here")

    def install(*packages: str, node: Path | None = None) -> Path:
        where = installed / packages[-1].rpartition("/")[2].partition("@")[0]
        path = f"{node}{os.pathsep}{os.environ['PATH']}" if node else os.environ["PATH"]
        run(*NPM, "--prefix", where, *packages, env={**os.environ, "PATH": path})
        return where / "node_modules" / ".bin"

    return install


def test_codex_takes_it(folder: Path, npm: Callable[..., Path]) -> None:
    runs = told(folder, npm("@openai/codex"), "codex")
    shown = json.loads(runs("codex", "mcp", "get", "codex-control-plane", "--json"))
    assert shown["enabled"] is True
    assert shown["transport"]["env"]["CODEX_PROJECTS_ROOT"] == str(folder / "second")


def test_claude_code_takes_it_and_connects(folder: Path, npm: Callable[..., Path]) -> None:
    runs = told(folder, npm("@anthropic-ai/claude-code"), "claude-code")
    assert "Connected" in runs("claude", "mcp", "list")
    stored = json.loads((folder / ".claude.json").read_text())
    (server,) = stored["mcpServers"].values()
    assert server["env"]["CODEX_PROJECTS_ROOT"] == str(folder / "second")


def test_openclaw_takes_it_and_lists_its_tools(folder: Path, npm: Callable[..., Path]) -> None:
    node = npm("node@24")
    runs = told(folder, npm("node@24", "openclaw", node=node), "openclaw")
    shown = runs("openclaw", "mcp", "show", "codex-control-plane")
    assert str(folder / "second") in shown
    assert " tools" in runs("openclaw", "mcp", "probe")


def test_hermes_takes_it_and_connects(folder: Path, installed: Path) -> None:
    where = installed / "hermes"
    run(sys.executable, "-m", "venv", where)
    run(where / "bin" / "python", "-m", "pip", "install", "--quiet", "hermes-agent[mcp]")
    runs = told(folder, where / "bin", "hermes")
    assert "codex_submit_task" in runs("hermes", "mcp", "test", "codex-control-plane")
    assert str(folder / "second") in (folder / ".hermes" / "config.yaml").read_text()
