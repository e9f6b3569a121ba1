"""The command line of `codex-control-plane-mcp`, which is hardly one."""

import subprocess
import sys
from pathlib import Path

import pytest

from codex_control_plane_mcp import __version__
from tests.pipe.actors import INITIALIZE, PATIENCE, Client, FakeWorker, call

MODULE = "codex_control_plane_mcp.server"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", MODULE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_it_tells_its_version_and_its_options() -> None:
    assert run("--version").stdout == f"codex-control-plane-mcp {__version__}\n"
    for option in ("--state-db", "--embedded", "--version", "--help"):
        assert option in run("--help").stdout


@pytest.mark.parametrize("arguments", [["--wrong"], ["stray"], ["--state-db"], ["--state-db="]])
def test_a_wrong_option_is_explained_on_stderr_only(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage" in done.stderr


@pytest.mark.parametrize("form", ["--state-db={}", "--state-db {}"])
def test_the_state_may_be_named_on_the_command_line(
    form: str, state_db: str, worker: FakeWorker
) -> None:
    with Client("-m", MODULE, *form.format(state_db).split()) as client:
        client.shake_hands(worker)


def test_the_state_is_else_found_by_the_environment(
    state_db: str, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_MCP_STATE_DB", state_db)
    with Client("-m", MODULE) as client:
        client.shake_hands(worker)


def test_unusable_settings_are_explained_to_every_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CODEX_MCP_STATE_DB", raising=False)
    monkeypatch.setenv("CODEX_CONTROL_PLANE_MCP_CONFIG", str(tmp_path / "missing.json"))
    with Client("-m", MODULE) as client:
        client.send(INITIALIZE)
        assert "missing.json" in client.receive()["error"]["message"]
        client.send(call(1, "codex_submit_task"))
        assert client.receive()["result"]["isError"] is True


def test_the_pipe_imports_nothing_heavy() -> None:
    script = "import sys, codex_control_plane_mcp.pipe; print(*sys.modules)"
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path[:] = {sys.path!r}; {script}",
    ]
    loaded = set(subprocess.check_output(command, text=True, timeout=PATIENCE).split())
    heavy = {
        "argparse",
        "asyncio",
        "dataclasses",
        "inspect",
        "pathlib",
        "psutil",
        "selectors",
        "socket",
        "subprocess",
        "tempfile",
        "typing",
    }
    assert loaded & heavy == set()
