"""A folder for the tests of the command line."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """The test's own, with a short name: a socket's path may only be a hundred characters long,
    and both its state and its temporary folder lie in here."""
    made = Path(tempfile.mkdtemp(prefix="cli-")).resolve()
    yield made
    shutil.rmtree(made, ignore_errors=True)
