"""What a step says of the results that came back: `${operationId}` is the last one that was seen.

A real model reads an id in one result and writes it into its next call. A script cannot know the id
when it is written, so a `call` or a `say` names it. `${finalReport.text}` is the `text` that
follows `finalReport`. Pure.
"""

import json
import re
from collections.abc import Iterable, Sequence

from codex_control_plane_mcp.scripted_model.script import Call, Say, ScriptError, Step

_NAME = re.compile(r"\$\{([\w.]+)\}")


def recalled(act: Iterable[Step], results: Sequence[str]) -> tuple[Step, ...]:
    """The act with every name replaced. Raises ScriptError for one that no result holds."""
    return tuple(_recalled(step, results) for step in act)


def _recalled(step: Step, results: Sequence[str]) -> Step:
    match step:
        case Say(text):
            return Say(_NAME.sub(lambda found: _value(found[1], results), text))
        case Call(tool, arguments):
            return Call(
                tool,
                _NAME.sub(lambda found: json.dumps(_value(found[1], results))[1:-1], arguments),
            )
        case _:
            return step


def _value(name: str, results: Sequence[str]) -> str:
    for result in reversed(results):
        found = _seen(name, result)
        if found is not None:
            return found
    raise ScriptError(f"no result that came back holds {name!r}")


def _seen(name: str, result: str) -> str | None:
    """Clients put prose around a result, or the whole of it into a string of their own: so it is
    looked for as text, and once more with each such layer taken off."""
    pattern = re.compile(
        r"\{.*?".join(rf'"{part}"\s*:\s*' for part in name.split("."))
        + r'(?:"((?:[^"\\]|\\.)*)"|([\w.+-]+))',
        re.DOTALL,
    )
    while True:
        if found := pattern.search(result):
            return found[2] if found[1] is None else str(json.loads(f'"{found[1]}"', strict=False))
        inner = result.replace('\\"', '"').replace("\\\\", "\\")
        if inner == result:
            return None
        result = inner
