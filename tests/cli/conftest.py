"""A folder for the tests of the command line."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from codex_control_plane_mcp.doors.cli.admin import app
from tests.cli.commands import Typed, environment


@pytest.fixture
def folder() -> Iterator[Path]:
    """The test's own, with a short name: a socket's path may only be a hundred characters long,
    and both its state and its temporary folder lie in here."""
    made = Path(tempfile.mkdtemp(prefix="cli-")).resolve()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Type a command, and get its exit code and what it said."""
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)

    def type_in(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        return done.exit_code, done.stdout, done.stderr

    return type_in
