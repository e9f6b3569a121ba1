"""`smoke`: an installation that works is found to work, one that does not is told where."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.scripted_model import serving, write_codex_home
from tests.cli.commands import ADMIN, PATIENCE, environment, processes_of, run

#: What a model may say to the prompts of `smoke`.
PLAYBOOK = """\
when Plan how
plan # Look\\n\\n1. List the folder
when as words
hang
when .
say All is well.
"""


def test_the_protocol_scenario_starts_no_codex_and_leaves_nothing_running(folder: Path) -> None:
    env = environment(folder, CODEX_BINARY_PATH=str(folder / "no-codex"))
    done = run(ADMIN, "smoke", "--safe-restart", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", name] for name in ("initialize", "tools", "errors", "health", "restart")
    ]
    assert processes_of(folder) == []


def test_a_server_that_cannot_open_its_state_fails_with_its_words(folder: Path) -> None:
    (folder / "state" / "state.sqlite3").mkdir(parents=True)
    done = run(ADMIN, "smoke", "--json", env=environment(folder))
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["ok"] is False
    failed = told["checks"][-1]
    assert failed["ok"] is False
    assert "state" in failed["said"]


def test_a_live_scenario_says_what_hinders_it(folder: Path) -> None:
    env = environment(
        folder, CODEX_BINARY_PATH=str(folder / "no-codex"), CODEX_PROJECTS_ROOT=str(folder)
    )
    done = run(ADMIN, "smoke", "--scenario", "safe-operation", env=env)
    assert done.returncode == 1
    assert "FAILED  preflight" in done.stdout
    assert "no-codex" in done.stdout


@pytest.mark.real
@pytest.mark.anyio
async def test_the_full_scenario_passes_on_real_codex_and_changes_no_file(folder: Path) -> None:
    pytest.importorskip("codex_cli_bin")
    project = folder / "project"
    project.mkdir()
    (project / "a.txt").write_text("as it was")
    async with serving(PLAYBOOK) as model:
        home = write_codex_home(folder / "codex-home", model.base_url)
        env = environment(folder, CODEX_HOME=str(home), CODEX_PROJECTS_ROOT=str(folder))
        script = Path(__file__).parents[2] / "scripts" / "mcp_live_smoke.py"
        arguments = ("--scenario", "full", "--safe-restart", "--cwd", str(project), "--json")
        with anyio.fail_after(PATIENCE):
            done = await anyio.run_process(
                [sys.executable, str(script), *arguments],
                env=env,
                check=False,
                stderr=subprocess.STDOUT,
            )
    assert done.returncode == 0, done.stdout.decode()
    told = json.loads(done.stdout)
    assert [one["name"] for one in told["checks"]] == [
        *("initialize", "tools", "errors", "health", "preflight"),
        *("task", "next message", "plan", "interrupt", "search", "restart", "archive"),
    ]
    plan = next(one for one in told["checks"] if one["name"] == "plan")
    assert "approved by its hash" in plan["said"]
    assert list(project.iterdir()) == [project / "a.txt"]
    assert processes_of(folder) == []
    with closing(sqlite3.connect(folder / "state" / "state.sqlite3")) as book:
        tasks = [text for (text,) in book.execute("SELECT request FROM operations")]
    prompts = [text for text in tasks if "message" in text]
    assert len(prompts) == 5
    assert all("MCP LIVE TEST / DO NOT MODIFY FILES" in text for text in prompts)
