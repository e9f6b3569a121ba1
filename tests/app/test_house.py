"""What a worker finds when it starts."""

from dataclasses import replace
from pathlib import Path

import pytest

from codex_control_plane_mcp import settings
from codex_control_plane_mcp.app.house import _make_default_home


@pytest.mark.parametrize(
    ("source", "is_made"), [("default", True), ("environment CODEX_HOME", False)]
)
def test_codex_is_given_a_home_that_exists_unless_a_person_named_another(
    source: str, is_made: bool, tmp_path: Path
) -> None:
    chosen = replace(
        settings.load({}), codex_home=tmp_path / "new" / ".codex", sources={"codex_home": source}
    )
    for _ in range(2):
        _make_default_home(chosen)
    assert chosen.codex_home.is_dir() is is_made
