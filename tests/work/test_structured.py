"""Whether a report is what its schema asks for."""

import json
from dataclasses import replace

import pytest

from codex_control_plane_mcp.model.ids import ProjectId, ThreadId, TurnId
from codex_control_plane_mcp.model.operation import Report, StructuredStatus
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import CompactThread, StartChat, TurnOptions
from codex_control_plane_mcp.work.structured import judged, status

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}
PROJECT = ProjectId("p")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"answer": 42}', StructuredStatus.VALID),
        (' {"answer":\n42}\n', StructuredStatus.VALID),
        ('{"answer": "42"}', StructuredStatus.INVALID),
        ('{"answer": 42, "more": 1}', StructuredStatus.INVALID),
        ("{}", StructuredStatus.INVALID),
        ("42", StructuredStatus.INVALID),
        ("", StructuredStatus.NOT_JSON),
        ("The answer is 42.", StructuredStatus.NOT_JSON),
        ('{"answer": 42', StructuredStatus.NOT_JSON),
        ('{"answer": NaN}', StructuredStatus.NOT_JSON),
        ('{"answer": 1e999}', StructuredStatus.NOT_JSON),
        (f'{{"answer": {"9" * 5000}}}', StructuredStatus.NOT_JSON),
        ('{"answer": "\\ud800"}', StructuredStatus.NOT_JSON),
        ("[" * 100_000, StructuredStatus.NOT_JSON),
    ],
)
def test_a_report_is_valid_invalid_or_not_json(text: str, expected: StructuredStatus) -> None:
    assert status(text, SCHEMA) is expected


def test_a_pattern_holds_nobody_up() -> None:
    slow = {**SCHEMA, "properties": {"answer": {"type": "string", "pattern": "^(a+)+$"}}}
    assert status(json.dumps({"answer": "a" * 64 + "!"}), slow) is StructuredStatus.VALID


def test_a_schema_that_refers_to_itself_in_a_circle_is_met_by_nothing() -> None:
    circle = {**SCHEMA, "$defs": {"a": {"$ref": "#/$defs/a"}}}
    circle["properties"] = {"answer": {"$ref": "#/$defs/a"}}
    assert status('{"answer": 42}', circle) is StructuredStatus.INVALID


def test_only_a_report_that_was_to_have_a_schema_is_judged() -> None:
    report = Report('{"answer": 42}', TurnId("u"))
    options = TurnOptions(Sandbox.READ_ONLY, ApprovalPolicy.ON_REQUEST)
    plain = StartChat("m", "/p", PROJECT, options)
    asked = replace(plain, options=replace(options, output_schema=SCHEMA))

    assert judged(report, plain) is report
    assert judged(report, CompactThread(ThreadId("t"), "/p", PROJECT)) is report
    assert judged(report, asked) == replace(report, structured=StructuredStatus.VALID)
