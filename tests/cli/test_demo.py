"""The demo on the real Codex, end to end: what it shows and asks, and that it leaves nothing."""

from __future__ import annotations

import json
import signal
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import ADMIN, command, environment, processes_of, run
from tests.cli.terminals import Person, at_a_terminal, needs_a_terminal

real = pytest.mark.real


def left_in(folder: Path) -> list[str]:
    """What the demo left behind, on the disk and among the processes."""
    return [*(path.name for path in (folder / "tmp").glob("codex-demo-*")), *processes_of(folder)]


@real
def test_unattended_it_completes_and_says_so_in_one_line_of_json(folder: Path) -> None:
    pytest.importorskip("codex_cli_bin")
    done = run(ADMIN, "demo", "--yes", "--json", env=environment(folder))
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told: dict[str, Any] = json.loads(line)
    assert (told["ok"], told["status"], told["problem"]) == (True, "completed", None)
    assert [decided["decision"] for decided in told["decisions"]] == ["accept"]
    assert "NOTES.md" in told["decisions"][0]["asked"]
    assert told["noteWritten"] is True
    assert "hello.py works" in told["finalReport"]
    assert told["sameAsCodexRecord"] is True
    assert told["sameOperationAgain"] is True
    assert told["nothingLeftRunning"] is True
    assert told["operationId"] in done.stderr
    assert "\x1b" not in done.stderr
    assert left_in(folder) == []


@real
def test_keeping_leaves_the_folder_and_no_process(folder: Path) -> None:
    pytest.importorskip("codex_cli_bin")
    done = run(ADMIN, "demo", "--yes", "--json", "--keep", env=environment(folder))
    assert done.returncode == 0, done.stderr
    folder = Path(json.loads(done.stdout)["folder"])
    assert "greet in more than one language" in (folder / "greeter" / "NOTES.md").read_text()
    assert (folder / "state" / "state.sqlite3").is_file()
    assert processes_of(folder) == []


def test_without_a_terminal_and_without_yes_it_is_refused(folder: Path) -> None:
    done = run(ADMIN, "demo", env=environment(folder))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--yes" in done.stderr
    assert left_in(folder) == []


def test_without_codex_it_says_what_is_missing(folder: Path) -> None:
    env = environment(folder, CODEX_BINARY_PATH=str(folder / "no-codex"))
    done = run(ADMIN, "demo", "--yes", "--json", env=env)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert "no-codex" in told["problem"]
    assert left_in(folder) == []


@real
@needs_a_terminal
def test_the_approval_is_asked_at_the_terminal_and_a_no_writes_nothing(folder: Path) -> None:
    pytest.importorskip("codex_cli_bin")
    with demo_at_a_terminal(folder) as person:
        person.reads("Allow it?")
        assert "echo" in person.screen
        person.types("perhaps\n")
        person.reads("Allow it?")
        person.types("d\n")
        person.reads("declined: NOTES.md was not written")
        assert person.exit_code() == 0
    assert "Completed." in person.screen
    assert left_in(folder) == []


@real
@needs_a_terminal
@pytest.mark.parametrize("wanted", [signal.SIGINT, signal.SIGTERM])
def test_ended_at_the_question_it_leaves_nothing(wanted: signal.Signals, folder: Path) -> None:
    pytest.importorskip("codex_cli_bin")
    with demo_at_a_terminal(folder) as person:
        person.reads("Allow it?")
        person.signals(wanted)
        person.reads("Stopping")
        assert person.exit_code() == 130
    assert left_in(folder) == []


@real
@needs_a_terminal
def test_ended_while_the_worker_starts_it_leaves_nothing(folder: Path) -> None:
    pytest.importorskip("codex_cli_bin")
    with demo_at_a_terminal(folder) as person:
        person.reads("Connect a client")
        person.signals(signal.SIGINT)
        assert person.exit_code() == 130
    assert left_in(folder) == []


def demo_at_a_terminal(folder: Path) -> AbstractContextManager[Person]:
    env = environment(folder, TERM="xterm-256color")
    return at_a_terminal(command(ADMIN, "demo"), env)
