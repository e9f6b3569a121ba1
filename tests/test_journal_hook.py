"""The hook as Codex runs it: a process of its own that is in nobody's way."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codex_control_plane_mcp import journal_hook
from codex_control_plane_mcp.journal_hook import MAX_BYTES, MAX_WAITING, READ_SECONDS, spool_of

#: A loaded machine gets its time; the hook gives up long before.
PATIENCE = 60

TOLD = json.dumps({"hook_event_name": "Stop", "last_assistant_message": "Grüße"}).encode()


def hook(*arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", journal_hook.__file__, *arguments]


def run(told: bytes, *arguments: str) -> None:
    """It leaves with 0 and prints nothing, whatever it was told."""
    done = subprocess.run(
        hook(*arguments), input=told, capture_output=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def spooled(state_db: Path) -> list[Path]:
    return sorted(Path(spool_of(str(state_db))).glob("*"))


@pytest.fixture
def state_db(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


def test_what_codex_says_is_kept_to_the_letter_and_for_us_alone(state_db: Path) -> None:
    run(TOLD, "--state-db", str(state_db))
    run(TOLD, "--state-db", str(state_db))

    first, second = spooled(state_db)
    assert first.read_bytes() == second.read_bytes() == TOLD
    assert first.suffix == second.suffix == ".json"
    if os.name == "posix":
        assert stat.S_IMODE(first.stat().st_mode) == 0o600
        assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700


def test_they_are_named_in_the_order_they_came(state_db: Path) -> None:
    for number in range(5):
        run(str(number).encode(), "--state-db", str(state_db))
    assert [file.read_text() for file in spooled(state_db)] == list("01234")


def test_what_is_no_json_is_the_workers_to_judge(state_db: Path) -> None:
    run(b'{"half', "--state-db", str(state_db))
    assert [file.read_bytes() for file in spooled(state_db)] == [b'{"half']


@pytest.mark.parametrize("told", [b"", b"x" * (MAX_BYTES + 1)], ids=["nothing", "too much"])
def test_nothing_and_too_much_are_not_kept(told: bytes, state_db: Path) -> None:
    run(told, "--state-db", str(state_db))
    assert spooled(state_db) == []


def test_the_longest_prompt_is_kept(state_db: Path) -> None:
    told = b"x" * MAX_BYTES
    run(told, "--state-db", str(state_db))
    assert [file.stat().st_size for file in spooled(state_db)] == [MAX_BYTES]


@pytest.mark.parametrize("arguments", [(), ("--state-db",), ("--wrong", "x"), ("a", "b", "c")])
def test_a_command_that_is_wrong_is_no_reason_to_stop_a_turn(arguments: tuple[str, ...]) -> None:
    run(TOLD, *arguments)


def test_nor_is_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    run(TOLD, "--state-db", str(tmp_path / "file" / "state.sqlite3"))
    run(TOLD, "--state-db", str(tmp_path / "no" / "such" / "folder" / "state.sqlite3"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="everything can be written")
def test_nor_is_one_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    run(TOLD, "--state-db", str(tmp_path / "state.sqlite3"))


def test_more_than_a_worker_would_ever_take_is_not_kept(state_db: Path) -> None:
    folder = Path(spool_of(str(state_db)))
    folder.mkdir()
    for number in range(MAX_WAITING):
        (folder / f"{number}.json").touch()
    run(TOLD, "--state-db", str(state_db))
    assert len(spooled(state_db)) == MAX_WAITING


@pytest.mark.skipif(os.name != "posix", reason="closing a descriptor before the start is POSIX")
def test_without_standard_input_nothing_is_kept(state_db: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *hook("--state-db", str(state_db))],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert spooled(state_db) == []


@pytest.mark.skipif(os.name != "posix", reason="Windows has no way to wait for a pipe")
def test_input_that_never_ends_is_not_waited_for(state_db: Path) -> None:
    with subprocess.Popen(hook("--state-db", str(state_db)), stdin=subprocess.PIPE) as process:
        began = time.monotonic()
        assert process.stdin is not None
        process.stdin.write(TOLD)
        process.stdin.flush()
        assert process.wait(PATIENCE) == 0
        assert time.monotonic() - began >= READ_SECONDS / 2
    assert spooled(state_db) == []


def test_it_imports_next_to_nothing(state_db: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", *hook("--state-db", str(state_db))[3:]],
        input=TOLD,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    imported = {line.rpartition(b"|")[2].strip().decode() for line in done.stderr.splitlines()}
    assert "os" in imported
    assert not imported & {"json", "re", "enum", "pathlib", "typing", "codex_control_plane_mcp"}
    assert len(spooled(state_db)) == 1
