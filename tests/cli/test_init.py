"""`init`: what it prints can be pasted, and what it makes is private."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.commands import ADMIN, environment, run


def test_the_output_is_the_json_that_a_client_needs(folder: Path) -> None:
    projects = folder / "projects"
    projects.mkdir()
    state = folder / "deep" / "state.sqlite3"
    env = environment(folder, CODEX_API_KEY="sk-not-to-be-seen")
    done = run(ADMIN, "init", "--state-db", str(state), "--projects-root", str(projects), env=env)
    assert done.returncode == 0
    (server,) = json.loads(done.stdout)["mcpServers"].values()
    assert Path(server["command"]).is_absolute()
    assert "codex-control-plane-mcp" in Path(server["command"]).name
    assert server["env"]["CODEX_MCP_STATE_DB"] == str(state.resolve())
    assert server["env"]["CODEX_PROJECTS_ROOT"] == str(projects.resolve())
    assert "sk-not-to-be-seen" not in done.stdout + done.stderr


def test_relative_paths_come_out_absolute(folder: Path) -> None:
    done = run(
        ADMIN, "init", "--state-db", "tests/s.db", "--projects-root", ".", env=environment(folder)
    )
    (server,) = json.loads(done.stdout)["mcpServers"].values()
    assert server["env"]["CODEX_MCP_STATE_DB"] == str(Path("tests/s.db").resolve())
    assert server["env"]["CODEX_PROJECTS_ROOT"] == str(Path.cwd().resolve())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_folder_of_the_state_is_made_for_this_user_only(folder: Path) -> None:
    state = folder / "new" / "state.sqlite3"
    env = environment(folder)
    run(ADMIN, "init", "--state-db", str(state), "--projects-root", str(folder), env=env)
    assert state.parent.stat().st_mode & 0o777 == 0o700
    assert not state.exists()


def test_a_codex_that_is_not_found_is_a_hint_and_not_in_the_json(folder: Path) -> None:
    env = environment(folder, CODEX_BINARY_PATH=str(folder / "no-codex"))
    done = run(ADMIN, "init", "--projects-root", str(folder), env=env)
    assert done.returncode == 0
    assert "no-codex" in done.stderr
    assert "CODEX_BINARY_PATH" not in done.stdout


def test_a_folder_that_cannot_be_made_is_an_error(folder: Path) -> None:
    (folder / "file").write_text("")
    state = folder / "file" / "state.sqlite3"
    env = environment(folder)
    done = run(ADMIN, "init", "--state-db", str(state), "--projects-root", ".", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot make the folder" in done.stderr
