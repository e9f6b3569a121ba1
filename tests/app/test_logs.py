"""The worker's log: JSON lines with ids that lead from a call to its turn, and no secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from codex_control_plane_mcp import correlation
from codex_control_plane_mcp.app.logs import log_to
from codex_control_plane_mcp.desk.diagnosis.logs import LogQuery, read_log
from codex_control_plane_mcp.settings import Settings

logger = logging.getLogger("codex_control_plane_mcp.test")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings whose log this process writes, until the test ends."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    chosen = Settings(state_db=tmp_path / "state.sqlite3", codex_home=tmp_path / "codex")
    log_to(chosen.worker_log)
    yield chosen
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_bears_the_ids_of_what_it_is_written_for(settings: Settings) -> None:
    with (
        correlation.working_for(callId="call_1"),
        correlation.working_for(operationId="op_1"),
    ):
        logger.info("at work", extra={"told": {"tool": "codex_submit_task"}})
    logger.info("idle")

    first, second = map(json.loads, settings.worker_log.read_text().splitlines())
    assert (first["callId"], first["operationId"], first["tool"]) == (
        "call_1",
        "op_1",
        "codex_submit_task",
    )
    assert "callId" not in second
    assert second["message"] == "idle"


def test_secrets_are_masked_in_messages_and_in_tracebacks(settings: Settings) -> None:
    secret = "sk-abcdefghijklmnopqrstuvwxyz"
    try:
        raise ValueError(f"refused: {secret}\n" + "\ud800")
    except ValueError:
        logger.exception("with %s", secret)

    written = settings.worker_log.read_text()
    (line,) = map(json.loads, written.splitlines())
    assert secret not in written
    assert "ValueError" in line["exception"]


def test_the_file_is_closed_to_others(settings: Settings) -> None:
    assert settings.worker_log.stat().st_mode & 0o777 == 0o600


def test_lines_are_found_by_call_operation_and_level(settings: Settings) -> None:
    with correlation.working_for(callId="call_1"):
        logger.info("taken in", extra={"told": {"operationId": "op_1"}})
    with correlation.working_for(operationId="op_1"):
        logger.info("it runs")
        logger.warning("it stumbled")
    logger.error("something else")

    def found(**wanted: str) -> list[str]:
        view = read_log(settings, LogQuery(**wanted))  # type: ignore[arg-type]
        return [line.message for line in view.lines]

    assert found(operation_id="op_1") == ["taken in", "it runs", "it stumbled"]
    assert found(call_id="call_1") == ["taken in"]
    assert found(level="WARNING") == ["it stumbled", "something else"]


def test_only_so_many_lines_are_read_and_whether_there_are_more_is_said(
    settings: Settings,
) -> None:
    for number in range(5):
        logger.info("line %d", number)

    view = read_log(settings, LogQuery(limit=2))

    assert [line.message for line in view.lines] == ["line 3", "line 4"]
    assert not view.complete
    assert read_log(settings, LogQuery(limit=5)).complete


def test_the_app_servers_log_is_read_without_its_secrets(settings: Settings) -> None:
    settings.app_server_folder.mkdir()
    (settings.app_server_folder / "app-server.log").write_text(
        "panicked\n\nOPENAI_API_KEY=abcdef0123456789\n"
    )

    view = read_log(settings, LogQuery(source="app_server"))

    assert [line.message for line in view.lines] == ["panicked", "OPENAI_API_KEY=[redacted]"]


def test_where_nothing_was_logged_yet_there_are_no_lines(tmp_path: Path) -> None:
    chosen = Settings(state_db=tmp_path / "state.sqlite3", codex_home=tmp_path / "codex")
    assert read_log(chosen, LogQuery()).lines == ()
