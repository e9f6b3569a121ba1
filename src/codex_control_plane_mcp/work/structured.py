"""Whether a report is what the output schema asked for.

Patterns are left to the model's provider: Python would try an unlucky one for ever, and nothing
could stop it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from codex_control_plane_mcp.model.operation import Report, StructuredStatus
from codex_control_plane_mcp.model.request import TaskRequest, output_schema_of

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


def judged(report: Report, request: TaskRequest) -> Report:
    """`report`, with what is to be said of it where the request has a schema."""
    schema = output_schema_of(request)
    return report if schema is None else replace(report, structured=status(report.text, schema))


def status(text: str, schema: Mapping[str, object]) -> StructuredStatus:
    """How a text goes with a schema."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        # What Python reads and nobody can send on: numbers without end, half characters.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return StructuredStatus.NOT_JSON
    try:
        is_valid = _validator()(schema).is_valid(value)
    except RecursionError:  # a schema that refers to itself in a circle
        is_valid = False
    return StructuredStatus.VALID if is_valid else StructuredStatus.INVALID


@cache
def _validator() -> Callable[[Mapping[str, object]], "Validator"]:
    # Seldom needed, and a twentieth of all that a worker imports to start.
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    validator: Callable[[Mapping[str, object]], Validator]
    validator = extend(Draft202012Validator, {"pattern": None})  # type: ignore[no-untyped-call]
    return validator


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
