"""Spans lead from a tool call to its turn, and say nothing that anybody wrote."""

import json
import logging
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from codex_control_plane_mcp import tracing
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.runtime import NoRuntime
from codex_control_plane_mcp.doors.mcp.calling import call
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.settings import Settings
from tests.work.house import House, Task, WallClock

CLIENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "the words of a person"


def desk_of(house: House, clock: WallClock, folder: Path) -> Desk:
    chosen = Settings(
        state_db=folder / "state.sqlite3", codex_home=folder / "codex", allowed_roots=(folder,)
    )
    return Desk(house.book, chosen, clock, NoRuntime(), threads=False)


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def leads_to(parent: ReadableSpan, child: ReadableSpan) -> bool:
    assert parent.context is not None
    return child.parent is not None and (
        (child.parent.trace_id, child.parent.span_id)
        == (parent.context.trace_id, parent.context.span_id)
    )


async def test_a_call_leads_to_its_operation_and_that_to_its_turn(
    house: House, codex: FakeCodex, clock: WallClock, tmp_path: Path
) -> None:
    exporter = InMemorySpanExporter()
    desk = desk_of(house, clock, tmp_path)
    arguments = {"operation_type": "start_chat", "message": SECRET, "cwd": str(tmp_path)}
    with tracing.exporting_to(exporter):
        with tracing.continuing({"traceparent": CLIENT, "progressToken": 7}):
            result = await call(desk, "codex_submit_task", arguments, "test")
        turn = await codex.turn()
        turn.completes(SECRET)
        await Task(OperationId(result["operationId"]), house).ends()

    spans = by_name(exporter)
    called, operation, turned = (
        spans[name] for name in ("execute_tool codex_submit_task", "operation start_chat", "turn")
    )
    assert called.parent is not None
    assert f"{called.parent.trace_id:032x}" == CLIENT.split("-")[1]
    assert leads_to(called, operation)
    assert leads_to(operation, turned)
    id_ = result["operationId"]
    assert {dict(one.attributes or {})["codex.operation.id"] for one in spans.values()} == {id_}
    assert dict(operation.attributes or {})["codex.operation.status"] == Status.COMPLETED
    assert dict(turned.attributes or {})["codex.turn.id"] == turn.id
    told = "".join(json.dumps(json.loads(one.to_json())) for one in spans.values())
    assert SECRET not in told
    assert str(tmp_path) not in told


async def test_a_worker_that_did_not_serve_the_call_traces_the_operation_all_the_same(
    house: House, codex: FakeCodex
) -> None:
    task = await house.submit("Greet me.")
    turn = await codex.turn()
    exporter = InMemorySpanExporter()
    with tracing.exporting_to(exporter):
        house.worker.kill()
        await house.worker.ended.wait()
        await house.hire()
        await codex.called("thread/resume")
        turn.completes("Hello!")
        await task.ends()
    spans = by_name(exporter)
    assert spans["operation start_chat"].parent is None
    assert leads_to(spans["operation start_chat"], spans["turn"])


async def test_what_goes_wrong_is_told_by_its_code(
    house: House, codex: FakeCodex, clock: WallClock, tmp_path: Path
) -> None:
    exporter = InMemorySpanExporter()
    desk = desk_of(house, clock, tmp_path)
    with tracing.exporting_to(exporter):
        await call(desk, "codex_wait", {"operation_ids": [SECRET]}, "test")
        await call(desk, SECRET, {}, "test")
    spans = by_name(exporter)
    assert set(spans) == {"execute_tool codex_wait", "execute_tool unknown"}
    assert all(not one.status.is_ok for one in spans.values())
    assert all(one.status.description is None for one in spans.values())
    assert dict(spans["execute_tool unknown"].attributes or {})["error.type"] == "INVALID_ARGUMENT"
    assert SECRET not in "".join(one.to_json() for one in spans.values())


# --- On and off ----------------------------------------------------------------------------------


def test_off_nothing_is_imported_or_made() -> None:
    look = """
import sys
import codex_control_plane_mcp.app.service
from codex_control_plane_mcp import tracing
with tracing.exporting({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "x"}):
    with tracing.span("a", {}) as one, tracing.span_of_operation("op", "b", {}) as other:
        assert one is other
    tracing.made("op")
assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
"""
    subprocess.run([sys.executable, "-c", look], check=True, timeout=60)


@pytest.mark.parametrize(
    ("environ", "exporter"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, "otlp_proto_http"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318"}, "otlp_proto_http"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp_proto_http"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "otlp_proto_grpc",
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "zipkin"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "x"}, None),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, None),
    ],
)
def test_the_exporter_is_that_of_the_environment(
    environ: dict[str, str], exporter: str | None
) -> None:
    assert tracing._wanted(environ) == exporter


def test_what_is_missing_is_said_in_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "entry_points", lambda **_: ())
    with (
        caplog.at_level(logging.INFO),
        tracing.exporting({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}),
    ):
        tracing.made("op")
        assert tracing.span("a", {}) is tracing.span("b", {})
    (said,) = caplog.messages
    assert "otlp_proto_http is not installed" in said
    assert "pip install 'codex-control-plane-mcp[otel]'" in said
