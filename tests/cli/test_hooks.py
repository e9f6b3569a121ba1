"""`codex-control-plane-mcp-hooks status`: it says what is in the file, and no more."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import HOOKS, environment, run


def written(folder: Path, hooks: object) -> None:
    home = folder / "codex-home"
    home.mkdir()
    (home / "hooks.json").write_text(hooks if isinstance(hooks, str) else json.dumps(hooks))


def status(folder: Path) -> tuple[int, dict[str, Any]]:
    done = run(HOOKS, "status", "--json", env=environment(folder))
    return done.returncode, json.loads(done.stdout)


def handler(command: str) -> list[dict[str, object]]:
    return [{"hooks": [{"type": "command", "command": command}]}]


def test_without_a_file_nothing_is_installed(folder: Path) -> None:
    code, told = status(folder)
    assert (code, told["installed"], told["fileExists"]) == (0, False, False)


def test_hooks_of_others_are_not_taken_for_ours(folder: Path) -> None:
    written(folder, {"hooks": {"Stop": handler("/usr/bin/notify-send done")}})
    code, told = status(folder)
    assert (code, told["installed"], told["fileExists"]) == (0, False, True)


@pytest.mark.parametrize("name", ["codex-control-plane-mcp-hooks", "openclaw-codex-mcp-hooks"])
def test_ours_are_found_with_the_events_they_are_installed_for(name: str, folder: Path) -> None:
    ours = handler(f"/opt/venv/bin/{name} handle")
    written(folder, {"hooks": {"Stop": ours, "SessionStart": handler("other"), "Odd": 5}})
    code, told = status(folder)
    assert (code, told["installed"], told["events"]) == (0, True, ["Stop"])


@pytest.mark.parametrize("content", ["{", "[]", '{"hooks": []}'])
def test_a_file_that_cannot_be_read_is_said_to_be_so(content: str, folder: Path) -> None:
    written(folder, content)
    code, told = status(folder)
    assert (code, told["installed"]) == (1, False)
    assert told["problem"]


def test_a_person_is_told_that_the_server_needs_no_hooks(folder: Path) -> None:
    done = run(HOOKS, "status", env=environment(folder))
    assert "not installed" in done.stdout
    assert "Turns that are started through the server need no hooks." in done.stdout
