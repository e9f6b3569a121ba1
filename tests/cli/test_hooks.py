"""`codex-control-plane-mcp-hooks`: what it says, what it changes, and what Codex makes of it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from codex_control_plane_mcp.doors.cli.hooks_file import EVENTS
from tests.cli.commands import HOOKS, PATIENCE, Done, command, environment, processes_of, run

real = pytest.mark.real
needs_a_terminal = pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals on Windows")


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


# --- Install, uninstall --------------------------------------------------------------------------


def hooks(folder: Path, *arguments: str, **more: str) -> Done:
    return run(HOOKS, *arguments, env=environment(folder, **more))


def file_of(folder: Path) -> Path:
    return folder / "codex-home" / "hooks.json"


def commands(folder: Path) -> set[str]:
    events = json.loads(file_of(folder).read_text())["hooks"]
    assert set(events) >= set(EVENTS)
    return {events[event][-1]["hooks"][-1]["command"] for event in EVENTS}


def without_codex(folder: Path) -> dict[str, str]:
    return {"CODEX_BINARY_PATH": str(folder / "no-codex")}


def test_install_names_the_state_by_its_absolute_path(folder: Path) -> None:
    done = hooks(folder, "install", "--state-db", os.path.relpath(folder / "s" / "x.sqlite3"))
    assert done.returncode == 0, done.stderr
    (command,) = commands(folder)
    assert str(folder / "s" / "x.sqlite3") in command
    assert (folder / "s" / "x.sqlite3.hooks").is_dir()


def test_install_again_changes_nothing_and_uninstall_takes_out_ours_alone(folder: Path) -> None:
    theirs = '{\n "hooks": { "Stop": [ {"hooks": [{"type": "command", "command": "x"}]} ] }\n}'
    written(folder, theirs)
    nobody = without_codex(folder)

    assert hooks(folder, "install", **nobody).returncode == 0
    there = file_of(folder).read_bytes()
    again = hooks(folder, "install", **nobody)
    assert (again.returncode, file_of(folder).read_bytes()) == (0, there)
    assert "installed already" in again.stdout
    assert status(folder)[1]["events"] == ["Stop", "UserPromptSubmit", "SessionStart"]

    assert hooks(folder, "uninstall").returncode == 0
    assert file_of(folder).read_text() == theirs
    assert len(list(file_of(folder).parent.glob("hooks.json.*.bak"))) == 2
    assert "none in" in hooks(folder, "uninstall").stdout


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_a_file_with_comments_is_refused_and_left_alone(verb: str, folder: Path) -> None:
    theirs = '{"hooks": {}} // mine'
    written(folder, theirs)
    done = hooks(folder, verb)
    assert (done.returncode, done.stdout) == (1, "")
    assert "without comments" in done.stderr
    assert file_of(folder).read_text() == theirs


def test_without_codex_it_is_installed_but_trust_cannot_be_had(folder: Path) -> None:
    nobody = without_codex(folder)
    assert hooks(folder, "install", **nobody).returncode == 0
    assert hooks(folder, "install", "--trust", **nobody).returncode == 1
    done = hooks(folder, "doctor", **nobody)
    assert done.returncode == 3
    assert "Codex cannot be asked" in done.stdout


# --- What Codex makes of it ----------------------------------------------------------------------


def doctor(folder: Path, *arguments: str, **more: str) -> tuple[int, set[str], str]:
    done = hooks(folder, "doctor", "--json", *arguments, **more)
    told = json.loads(done.stdout)
    assert told["ok"] == (not told["findings"])
    said = " ".join(one["problem"] for one in told["findings"])
    return done.returncode, {one["about"] for one in told["findings"]}, said


@real
def test_codex_runs_them_only_once_they_are_trusted(folder: Path) -> None:
    (folder / "codex-home").mkdir()
    assert doctor(folder)[:2] == (1, {"file"})

    installed = hooks(folder, "install")
    assert installed.returncode == 0, installed.stderr
    assert "--trust" in installed.stdout
    code, about, said = doctor(folder)
    assert (code, about) == (1, {"trust"})
    assert "untrusted" in said

    trusted = hooks(folder, "install", "--trust")
    assert trusted.returncode == 0, trusted.stderr
    assert doctor(folder)[:2] == (0, set())
    assert processes_of(folder) == []


@real
def test_what_was_trusted_and_then_changed_is_not(folder: Path) -> None:
    (folder / "codex-home").mkdir()
    assert hooks(folder, "install", "--trust").returncode == 0
    file = file_of(folder)
    file.write_text(file.read_text().replace('"timeout": 5', '"timeout": 9', 1))
    code, about, said = doctor(folder)
    assert (code, about) == (1, {"trust"})
    assert "modified" in said


@real
@needs_a_terminal
@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1)])
def test_at_a_terminal_a_person_is_asked(answer: bytes, code: int, folder: Path) -> None:
    (folder / "codex-home").mkdir()
    ours, theirs = os.openpty()
    os.write(ours, answer)
    done = subprocess.run(
        command(HOOKS, "install"),
        stdin=theirs,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        env=environment(folder),
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0, done.stderr
    assert b"Let Codex run them" in done.stdout
    assert doctor(folder)[0] == code


@pytest.mark.parametrize(
    ("part", "instead", "about"),
    [
        ("-I -S", "-m codex-control-plane-mcp-hooks", "command"),
        ("journal_hook.py", "gone/journal_hook.py", "command"),
        ("/bin/python", "/gone/python", "command"),
        ("state.sqlite3", "other.sqlite3", "state"),
        ("/state/", "/gone/", "state"),
    ],
)
def test_a_hook_that_would_not_work_is_said_to_be_so(
    part: str, instead: str, about: str, folder: Path
) -> None:
    nobody = without_codex(folder)
    assert hooks(folder, "install", **nobody).returncode == 0
    file = file_of(folder)
    file.write_text(file.read_text().replace(part, instead))
    code, found, _ = doctor(folder, **nobody)
    assert (code, found) == (1, {about, "codex"})


def test_a_python_that_does_not_start_is_tried(folder: Path) -> None:
    nobody = without_codex(folder)
    assert hooks(folder, "install", **nobody).returncode == 0
    (command,) = commands(folder)
    fake = folder / "python"
    fake.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    fake.chmod(0o700)
    file = file_of(folder)
    file.write_text(file.read_text().replace(command.split()[0], str(fake)))
    code, found, said = doctor(folder, **nobody)
    assert (code, found) == (1, {"command", "codex"})
    assert "broken" in said
