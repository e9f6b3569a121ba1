"""What holds for every command: it explains itself, and says which setting is wrong."""

from pathlib import Path

import pytest

from codex_control_plane_mcp import __version__
from tests.cli.commands import ADMIN, HOOKS, environment, run


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (ADMIN, "demo"),
        (ADMIN, "stop"),
        (ADMIN, "init"),
        (ADMIN, "print-config"),
        (ADMIN, "import-state"),
        (ADMIN, "prune"),
        (ADMIN, "backup"),
        (ADMIN, "open"),
        (ADMIN, "smoke"),
        (ADMIN, "notices"),
        (ADMIN, "doctor"),
        (ADMIN, "repair"),
        (HOOKS, "install"),
        (HOOKS, "uninstall"),
        (HOOKS, "status"),
        (HOOKS, "doctor"),
    ],
)
def test_every_command_explains_itself_and_its_exit_codes(
    module: str, name: str, folder: Path
) -> None:
    done = run(module, name, "--help", env=environment(folder))
    assert done.returncode == 0
    assert "Exit codes" in done.stdout
    listed = run(module, "--help", env=environment(folder))
    assert name in listed.stdout


@pytest.mark.parametrize("module", [ADMIN, HOOKS])
def test_the_version_is_told(module: str, folder: Path) -> None:
    done = run(module, "--version", env=environment(folder))
    assert (done.returncode, done.stdout.split()[-1]) == (0, __version__)


@pytest.mark.parametrize(
    "arguments", [["stop"], ["print-config"], ["init", "--projects-root", "."]]
)
def test_a_settings_file_that_cannot_be_read_is_named_on_stderr(
    arguments: list[str], folder: Path
) -> None:
    missing = str(folder / "missing.json")
    env = environment(folder, CODEX_CONTROL_PLANE_MCP_CONFIG=missing)
    del env["CODEX_MCP_STATE_DB"]
    done = run(ADMIN, *arguments, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "missing.json" in done.stderr


def test_a_wrong_option_is_a_usage_error(folder: Path) -> None:
    done = run(ADMIN, "demo", "--wrong", env=environment(folder))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--wrong" in done.stderr
