"""Edits `hooks.json` where it has to be edited, and leaves every other byte as it is.

Codex names a hook by its place in the file, and forgets that it is trusted when that changes. So
ours is put behind the others, and what stood in its place before is replaced where it stands.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codex_control_plane_mcp.doors.cli import config_file
from codex_control_plane_mcp.doors.cli.config_file import Change
from codex_control_plane_mcp.doors.cli.hooks_command import is_ours

#: In Codex's home.
NAME = "hooks.json"
EVENTS = ("UserPromptSubmit", "Stop", "SessionStart")
#: Ours needs a hundredth of that.
TIMEOUT_SECONDS = 5


_NOTHING = "{}\n"
#: There is no hand of others to be kept in these.
_EMPTY: tuple[object, ...] = ({}, {"hooks": {}})


@dataclass(frozen=True, slots=True)
class Span:
    """A value in a text, and the whole of the member or element that it is."""

    #: The name of a member, or the number of an element.
    key: str | int
    begin: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler of ours, and what it stands in."""

    event: Span
    group: Span
    span: Span
    command: str


# --- The file ------------------------------------------------------------------------------------


def read(file: Path) -> str | None:
    """The text of the file, if there is one. Raises Unreadable."""
    return config_file.read(file, check)


def change(file: Path, edit: Callable[[str], str]) -> Change:
    """Put the edited text in the place of the file, in one step. Raises Unreadable, OSError."""

    def edited(before: str | None) -> str | None:
        present = _NOTHING if before is None else before
        after = edit(present)
        if after == present:
            return None
        if json.loads(present) in _EMPTY:
            return json.dumps(json.loads(after), indent=2) + "\n"
        return after

    return config_file.change(file, check, edited)


# --- The text ------------------------------------------------------------------------------------


def check(text: str) -> None:
    """Raises ValueError for a text that Codex would not read, or that can be read in two ways."""
    stored = json.loads(text, object_pairs_hook=_once)
    events = stored.get("hooks", {}) if isinstance(stored, dict) else None
    if not isinstance(events, dict):
        raise ValueError("it does not hold an object `hooks`")
    for event in EVENTS:
        if not isinstance(events.get(event, []), list):
            raise ValueError(f"`{event}` is not a list")


def installed(text: str, command: str) -> str:
    """The text with one handler of ours for each event, and each with this command."""
    for event in EVENTS:
        ours = [one for one in handlers(text) if one.event.key == event]
        if not ours:
            text = _with_group(text, event, {"hooks": [_handler(command)]})
            continue
        for surplus in reversed(ours[1:]):
            text = _without(text, surplus)
        first = ours[0].span
        if json.loads(text[first.start : first.end]) != _handler(command):
            text = text[: first.start] + json.dumps(_handler(command)) + text[first.end :]
    return text


def uninstalled(text: str) -> str:
    """The text without any handler of ours."""
    for one in reversed(list(handlers(text))):
        text = _without(text, one)
    return text


def handlers(text: str) -> Iterator[Handler]:
    """Ours, in the order of the text."""
    for event in _events(text):
        for group in _parts(text, event.start):
            hooks = _member(text, group.start, "hooks") if text[group.start] == "{" else None
            if hooks is None or text[hooks.start] != "[":
                continue
            for span in _parts(text, hooks.start):
                stored = json.loads(text[span.start : span.end])
                command = stored.get("command") if isinstance(stored, dict) else None
                if isinstance(command, str) and is_ours(command):
                    yield Handler(event, group, span, command)


def those_behind(text: str) -> tuple[str, ...]:
    """Events in which hooks of others follow ours: they move up when ours is taken out."""
    return tuple(
        str(event.key)
        for event in _events(text)
        if (ours := [one for one in handlers(text) if one.event == event])
        and _parts(text, event.start)[-1] != ours[-1].group
    )


def _handler(command: str) -> dict[str, object]:
    return {"type": "command", "command": command, "timeout": TIMEOUT_SECONDS}


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("it names the same member twice")
    return members


def _events(text: str) -> Sequence[Span]:
    hooks = _member(text, _skip(text, 0), "hooks")
    parts = () if hooks is None else _parts(text, hooks.start)
    return [part for part in parts if text[part.start] == "["]


def _with_group(text: str, event: str, group: object) -> str:
    top = _skip(text, 0)
    hooks = _member(text, top, "hooks")
    if hooks is None:
        return _with(text, top, f'"hooks": {json.dumps({event: [group]})}')
    present = _member(text, hooks.start, event)
    if present is None:
        return _with(text, hooks.start, f"{json.dumps(event)}: {json.dumps([group])}")
    return _with(text, present.start, json.dumps(group))


def _without(text: str, handler: Handler) -> str:
    """Take a handler out, with its group or its event where nothing else is in it."""
    (hooks,) = (part for part in _parts(text, handler.group.start) if part.key == "hooks")
    if len(_parts(text, hooks.start)) > 1:
        return _cut(text, hooks.start, handler.span)
    if len(_parts(text, handler.event.start)) > 1:
        return _cut(text, handler.event.start, handler.group)
    events = _member(text, _skip(text, 0), "hooks")
    assert events is not None  # noqa: S101  # the handler stands in it
    return _cut(text, events.start, handler.event)


# --- JSON as text --------------------------------------------------------------------------------

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return at if space is None else space.end()


def _parts(text: str, at: int) -> list[Span]:
    """The members of the object, or the elements of the array, that begins there."""
    named = text[at] == "{"
    at = _skip(text, at + 1)
    found: list[Span] = []
    while text[at] not in "}]":
        begin, key = at, len(found)
        if named:
            key, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        found.append(Span(key, begin, at, end))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _member(text: str, at: int, name: str) -> Span | None:
    return next((part for part in _parts(text, at) if part.key == name), None)


def _with(text: str, at: int, addition: str) -> str:
    """The text with one more member or element at the end of what begins there."""
    parts = _parts(text, at)
    if not parts:
        return text[: at + 1] + addition + text[at + 1 :]
    last = parts[-1]
    before = text[: last.begin]
    lead = before[len(before.rstrip(" \t\r\n")) :]
    return text[: last.end] + "," + (lead or " ") + addition + text[last.end :]


def _cut(text: str, at: int, part: Span) -> str:
    """The text without a member or element of what begins there, and without its comma."""
    parts = _parts(text, at)
    place = next(number for number, one in enumerate(parts) if one.begin == part.begin)
    if place > 0:
        return text[: parts[place - 1].end] + text[parts[place].end :]
    rest = parts[1].begin if len(parts) > 1 else parts[0].end
    return text[: part.begin] + text[rest:]
