"""`init`: what it prints can be pasted, what it makes is private, and clients are told once."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from codex_control_plane_mcp.doors.cli.clients import CLIENTS, ByFile, Entry, Name, NotAdded
from tests.cli.commands import ADMIN, Done, environment, processes_of, run

posix = pytest.mark.skipif(os.name == "nt", reason="a stand-in for a client is a shell script")

ENTRY = Entry("/opt/codex-control-plane-mcp", {"CODEX_PROJECTS_ROOT": "/home/ann/my projects"})


def init(env: dict[str, str], *arguments: str) -> Done:
    """Without the trial of the server, which two tests look at."""
    return run(ADMIN, "init", "--no-smoke", *arguments, env=env)


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
    # It was tried as a client would start it, and nothing of that runs any more.
    assert "tried: codex-control-plane-mcp" in done.stderr
    assert processes_of(folder) == []


def test_relative_paths_come_out_absolute(folder: Path) -> None:
    done = init(environment(folder), "--state-db", "tests/s.db", "--projects-root", ".")
    (server,) = json.loads(done.stdout)["mcpServers"].values()
    assert server["env"]["CODEX_MCP_STATE_DB"] == str(Path("tests/s.db").resolve())
    assert server["env"]["CODEX_PROJECTS_ROOT"] == str(Path.cwd().resolve())


def test_settings_of_the_environment_are_passed_on_since_a_client_starts_without_them(
    folder: Path,
) -> None:
    env = environment(folder, CODEX_MCP_MAX_SANDBOX="workspace-write")
    done = init(env, "--projects-root", str(folder))
    (server,) = json.loads(done.stdout)["mcpServers"].values()
    assert server["env"]["CODEX_MCP_MAX_SANDBOX"] == "workspace-write"
    assert server["env"]["CODEX_HOME"] == str(folder / "codex-home")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_folder_of_the_state_is_made_for_this_user_only(folder: Path) -> None:
    state = folder / "new" / "state.sqlite3"
    init(environment(folder), "--state-db", str(state), "--projects-root", str(folder))
    assert state.parent.stat().st_mode & 0o777 == 0o700
    assert not state.exists()


def test_a_codex_that_is_not_found_is_a_hint_and_not_in_the_json(folder: Path) -> None:
    env = environment(folder, CODEX_BINARY_PATH=str(folder / "no-codex"))
    done = init(env, "--projects-root", str(folder))
    assert done.returncode == 0
    assert "no-codex" in done.stderr
    assert "CODEX_BINARY_PATH" not in done.stdout


def test_a_folder_that_cannot_be_made_is_an_error(folder: Path) -> None:
    (folder / "file").write_text("")
    state = folder / "file" / "state.sqlite3"
    done = init(environment(folder), "--state-db", str(state), "--projects-root", ".")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot make the folder" in done.stderr


def test_a_server_that_does_not_answer_is_told_to_no_client(folder: Path) -> None:
    """The state is a folder: the server starts, and cannot open it."""
    (folder / "state" / "state.sqlite3").mkdir(parents=True)
    env = environment(folder, HOME=str(folder))
    (folder / ".cursor").mkdir()
    done = run(ADMIN, "init", "--projects-root", str(folder), "--write", env=env)
    assert done.returncode == 1
    assert "nothing was written" in done.stderr
    assert not (folder / ".cursor" / "mcp.json").exists()


# --- What each client reads ----------------------------------------------------------------------


def test_for_every_client_there_is_something_to_paste_that_names_server_and_settings() -> None:
    for name, client in CLIENTS.items():
        pasted = client.shown(ENTRY)
        assert "codex-control-plane" in pasted, name
        if isinstance(client, ByFile):
            (server,) = json.loads(pasted)[client.key].values()
            assert (server["command"], server["env"]) == (ENTRY.command, ENTRY.env)
        else:
            words = shlex.split(pasted)
            assert words[:3] == [client.program, "mcp", "add"]
            assert ENTRY.command in words
            assert "CODEX_PROJECTS_ROOT=/home/ann/my projects" in words


def test_a_client_asked_for_by_name_gets_its_own_form_alone_on_standard_output(
    folder: Path,
) -> None:
    done = init(environment(folder), "--projects-root", str(folder), "--client", "vscode")
    (server,) = json.loads(done.stdout)["servers"].values()
    assert server["type"] == "stdio"
    assert "mcp.json" in done.stderr


# --- Files are merged ----------------------------------------------------------------------------


@pytest.fixture
def settings_of_cursor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    (folder / ".cursor").mkdir()
    return folder / ".cursor" / "mcp.json"


def test_what_others_wrote_into_the_file_is_kept_and_the_file_as_it_was_beside_it(
    settings_of_cursor: Path,
) -> None:
    before = '{\n\t"other": "naïve",\n\t"mcpServers": {\n\t\t"x": {"command": "x"}\n\t}\n}'
    settings_of_cursor.write_text(before, encoding="utf-8")
    CLIENTS[Name.CURSOR].tell(ENTRY, {})
    after = settings_of_cursor.read_text(encoding="utf-8")
    stored = json.loads(after)
    assert stored["other"] == "naïve"
    assert list(stored["mcpServers"]) == ["x", "codex-control-plane"]
    assert after.splitlines()[1] == '\t"other": "naïve",'
    (backup,) = settings_of_cursor.parent.glob("*.bak")
    assert backup.read_text(encoding="utf-8") == before


def test_telling_it_again_changes_nothing_and_another_state_replaces_the_entry(
    settings_of_cursor: Path,
) -> None:
    cursor = CLIENTS[Name.CURSOR]
    cursor.tell(ENTRY, {})
    first = settings_of_cursor.read_bytes()
    assert "already" in cursor.tell(ENTRY, {})
    assert settings_of_cursor.read_bytes() == first
    assert list(settings_of_cursor.parent.glob("*.bak")) == []
    cursor.tell(Entry("/elsewhere", {}), {})
    (server,) = json.loads(settings_of_cursor.read_text())["mcpServers"].values()
    assert server == {"command": "/elsewhere", "env": {}}


@pytest.mark.parametrize(
    "text", ['{"mcpServers": {}} // mine', '{"mcpServers": []}', "[]", "", "\x00", "{" * 100_000]
)
def test_a_file_that_is_not_understood_is_left_to_the_letter(
    settings_of_cursor: Path, text: str
) -> None:
    settings_of_cursor.write_text(text)
    with pytest.raises(NotAdded, match=r"mcp\.json"):
        CLIENTS[Name.CURSOR].tell(ENTRY, {})
    assert settings_of_cursor.read_text() == text
    assert list(settings_of_cursor.parent.iterdir()) == [settings_of_cursor]


# --- Commands are run ----------------------------------------------------------------------------


def stand_in(folder: Path, program: str, script: str) -> Path:
    """A client on the path that notes what it was called with; returns its notes."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    file = bin_folder / program
    file.write_text(f'#!/bin/sh\necho "$@" >> {folder}/called\n{script}\n')
    file.chmod(0o755)
    return folder / "called"


def on_the_path(folder: Path) -> dict[str, str]:
    return environment(folder, HOME=str(folder), PATH=f"{folder / 'bin'}:/usr/bin:/bin")


@posix
def test_a_client_with_a_command_is_told_by_it_after_a_former_entry_was_taken_out(
    folder: Path,
) -> None:
    called = stand_in(folder, "claude", "exit 0")
    done = init(on_the_path(folder), "--projects-root", str(folder), "--write")
    assert done.returncode == 0, done.stderr
    removed, added = called.read_text().splitlines()
    assert removed.startswith("mcp remove ")
    assert added.startswith("mcp add ")
    assert "Claude Code: added by `claude mcp add`" in done.stderr


@posix
def test_openclaw_is_given_another_entry_in_place_of_one_that_it_has(folder: Path) -> None:
    refuses = 'case "$*" in *add*) echo "it already exists" >&2; exit 1;; esac'
    called = stand_in(folder, "openclaw", refuses)
    done = init(on_the_path(folder), "--projects-root", str(folder), "--write")
    assert done.returncode == 0, done.stderr
    refused, replaced = called.read_text().splitlines()
    assert refused.startswith("mcp add codex-control-plane --command /")
    assert replaced.startswith("mcp set codex-control-plane {")
    stored = json.loads(replaced.partition("codex-control-plane ")[2])
    assert stored["env"]["CODEX_PROJECTS_ROOT"] == str(folder)
    assert stored["connectionTimeoutMs"] == 60_000


@posix
def test_a_client_that_refuses_is_quoted_and_the_others_are_told_all_the_same(
    folder: Path,
) -> None:
    stand_in(folder, "claude", "echo the settings are managed >&2; exit 3")
    (folder / ".cursor").mkdir()
    done = init(on_the_path(folder), "--projects-root", str(folder), "--write")
    assert done.returncode == 1
    assert "Claude Code: not added: the settings are managed" in done.stderr
    assert (folder / ".cursor" / "mcp.json").is_file()


@posix
def test_hermes_has_to_say_that_it_will_use_the_server_since_it_also_ends_well_when_not(
    folder: Path,
) -> None:
    stand_in(folder, "hermes", "echo Saved as disabled")
    done = init(on_the_path(folder), "--projects-root", str(folder), "--write")
    assert done.returncode == 1
    assert "Hermes: not added: Saved as disabled" in done.stderr


@posix
def test_a_client_that_is_named_and_not_here_is_said_to_be_missing(folder: Path) -> None:
    done = init(
        on_the_path(folder), "--projects-root", str(folder), "--write", "--client", "claude-code"
    )
    assert done.returncode == 1
    assert "no `claude` on the path" in done.stderr


@posix
@pytest.mark.real
def test_the_real_codex_takes_the_entry_and_takes_another_in_its_place(folder: Path) -> None:
    bundled = pytest.importorskip("codex_cli_bin").bundled_codex_path()
    (folder / "bin").mkdir()
    (folder / "bin" / "codex").symlink_to(bundled)
    (folder / "codex-home").mkdir()
    env = on_the_path(folder)
    for root in ("first", "second"):
        wanted = ("--projects-root", str(folder / root), "--write", "--client", "codex")
        done = init(env, *wanted)
        assert done.returncode == 0, done.stderr
        told = json.loads(_codex(folder, env, "mcp", "get", "codex-control-plane", "--json"))
        assert told["enabled"] is True
        assert told["transport"]["env"]["CODEX_PROJECTS_ROOT"] == str(folder / root)


def _codex(folder: Path, env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [folder / "bin" / "codex", *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_hooks_are_installed_where_they_are_asked_for(folder: Path) -> None:
    env = environment(folder, CODEX_BINARY_PATH=sys.executable)
    done = init(env, "--projects-root", str(folder), "--hooks")
    assert done.returncode == 0, done.stderr
    assert (folder / "codex-home" / "hooks.json").is_file()
    assert list(json.loads(done.stdout)) == ["mcpServers"]
