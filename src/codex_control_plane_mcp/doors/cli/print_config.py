"""`print-config`: every setting, its value, and where the value came from."""

import json
import os
import sys
from dataclasses import fields
from pathlib import Path

from codex_control_plane_mcp import settings
from codex_control_plane_mcp.settings import DatabaseUrl, Settings


def run(*, as_json: bool) -> int:
    chosen = settings.load(os.environ)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(chosen), indent=2) + "\n")
    else:
        _show(chosen)
    if nobodys := settings.unread(os.environ):
        sys.stderr.write(f"nobody reads {', '.join(nobodys)}: misspelt, or of an older version\n")
    return 0


def _values(chosen: Settings) -> dict[str, object]:
    names = (field.name for field in fields(chosen) if field.name != "sources")
    return {name: getattr(chosen, name) for name in names}


def _as_json(chosen: Settings) -> dict[str, object]:
    return {
        name: {"value": _plain(value), "source": chosen.sources[name]}
        for name, value in _values(chosen).items()
    }


def _plain(value: object) -> object:
    """The value as JSON data: paths are texts."""
    match value:
        case Path() | DatabaseUrl():
            return str(value)
        case tuple():
            return [_plain(one) for one in value]
        case _:
            return value


def _show(chosen: Settings) -> None:
    from rich.table import Table
    from rich.text import Text

    from codex_control_plane_mcp.doors.cli.terminal import console_on

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for name, value in _values(chosen).items():
        source = chosen.sources[name]
        stated = source != "default"
        table.add_row(
            Text(name, style="bold" if stated else ""),
            Text(_in_words(value), style="bold" if stated else ""),
            Text(source, style="green" if stated else "dim"),
        )
    console_on(sys.stdout, widest=None).print(table)


def _in_words(value: object) -> str:
    match value:
        case None | ():
            return "-"
        case tuple():
            return "\n".join(str(one) for one in value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
