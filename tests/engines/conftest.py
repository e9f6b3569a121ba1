"""The stage of the recipes: real Codex, the scripted model, and a line that is cut."""

import os
import sys
from collections.abc import AsyncIterator

import pytest

from tests.e2e.stage import Stage, stage_of
from tests.engines.programs import CUT, Programs


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with stage_of() as stage:
        yield stage


@pytest.fixture
async def programs(stage: Stage) -> AsyncIterator[Programs]:
    """Runs the recipes on the stage; ends what is left of them before it is struck."""
    commands = stage.root / "commands"
    commands.mkdir()
    command = commands / "codex-control-plane-mcp"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} {CUT}\n", encoding="utf-8")
    command.chmod(0o755)
    cuts = stage.root / "cuts"
    cuts.mkdir()
    async with Programs.opened(
        stage.root / "recipes",
        {
            **stage.environ,
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "ENGINES_CUTS": str(cuts),
        },
        cwd=stage.project,
    ) as programs:
        yield programs
