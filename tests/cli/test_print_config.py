"""`print-config`: every setting, and where it comes from."""

import json
from dataclasses import fields
from pathlib import Path

from codex_control_plane_mcp.settings import Settings
from tests.cli.commands import ADMIN, environment, run


def test_every_setting_is_there_with_its_value_and_its_source(folder: Path) -> None:
    file = folder / "settings.json"
    file.write_text(json.dumps({"max_active_turns_global": 2, "projects_root": str(folder)}))
    env = environment(
        folder, CODEX_CONTROL_PLANE_MCP_CONFIG=str(file), CODEX_MCP_IDLE_EXIT_SECONDS="5"
    )
    done = run(ADMIN, "print-config", "--json", env=env)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert set(told) == {field.name for field in fields(Settings)} - {"sources"}
    assert told["max_active_turns_global"] == {"value": 2, "source": f"file {file}"}
    assert told["projects_root"] == {"value": str(folder.resolve()), "source": f"file {file}"}
    assert told["idle_exit_seconds"] == {
        "value": 5.0,
        "source": "environment CODEX_MCP_IDLE_EXIT_SECONDS",
    }
    assert told["default_sandbox"] == {"value": "read-only", "source": "default"}


def test_the_table_holds_one_setting_on_each_line_when_it_is_piped(folder: Path) -> None:
    done = run(ADMIN, "print-config", env=environment(folder))
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    for field in fields(Settings):
        if field.name != "sources":
            assert field.name in rows
    assert str(folder) in rows["state_db"]
    assert "environment CODEX_MCP_STATE_DB" in rows["state_db"]
    assert "\x1b" not in done.stdout


def test_a_variable_that_nobody_reads_is_named(folder: Path) -> None:
    env = environment(folder, CODEX_MCP_EXECUTION_MODE="worker", CODEX_MCP_DEFUALT_MODEL="m")
    done = run(ADMIN, "print-config", "--json", env=env)
    assert done.returncode == 0
    assert "CODEX_MCP_DEFUALT_MODEL, CODEX_MCP_EXECUTION_MODE" in done.stderr
    assert "STATE_DB" not in done.stderr
