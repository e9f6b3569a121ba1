"""`codex-control-plane-mcp-hooks`: are our hooks installed in this Codex home?

Turns that are started through the server need no hooks: the worker hears of them directly. Hooks
only matter for what happens in Codex without us.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from codex_control_plane_mcp import __version__

PROGRAM = "codex-control-plane-mcp-hooks"
#: How the command of a hook of ours is to be told: by this name, or by its older one.
HANDLERS = (PROGRAM, "openclaw-codex-mcp-hooks")

EXIT_USAGE = 2

app = typer.Typer(
    help="Hooks of Codex that report to the control plane.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a Codex home's `hooks.json` holds of ours."""

    file: Path
    exists: bool
    #: The events that a handler of ours is installed for.
    events: tuple[str, ...] = ()
    #: Why the file cannot be read.
    problem: str | None = None


def main() -> None:
    """The console script."""
    from codex_control_plane_mcp.errors import ControlPlaneError

    try:
        app(prog_name=PROGRAM)
    except ControlPlaneError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        sys.exit(EXIT_USAGE)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
) -> None:
    if version:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        raise typer.Exit


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether our hook handler is in $CODEX_HOME/hooks.json.

    Whether Codex trusts it, and so runs it, only Codex can say.

    Exit codes: 0 said, 1 the file cannot be read, 2 the command or a setting is wrong.
    """
    from codex_control_plane_mcp import settings

    found = look(settings.load(os.environ).codex_home)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(found)) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(found))
    raise typer.Exit(0 if found.problem is None else 1)


def look(codex_home: Path) -> Found:
    """What is installed in this Codex home."""
    file = codex_home / "hooks.json"
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return Found(file, exists=True, events=tuple(_events_of_ours(stored)))
    except FileNotFoundError:
        return Found(file, exists=False)
    except (OSError, ValueError, RecursionError) as error:
        return Found(file, exists=True, problem=str(error))


def _events_of_ours(stored: object) -> Iterator[str]:
    events = stored.get("hooks") if isinstance(stored, dict) else None
    if not isinstance(events, dict):
        raise ValueError("it does not hold an object `hooks`")
    for event, groups in events.items():
        if any(_is_ours(command) for command in _commands(groups)):
            yield event


def _commands(groups: object) -> Iterator[str]:
    for group in groups if isinstance(groups, list) else ():
        handlers = group.get("hooks") if isinstance(group, dict) else None
        for handler in handlers if isinstance(handlers, list) else ():
            command = handler.get("command") if isinstance(handler, dict) else None
            if isinstance(command, str):
                yield command


def _is_ours(command: str) -> bool:
    return any(name in command for name in HANDLERS)


def _lines(found: Found) -> Iterator[str]:
    if found.problem is not None:
        yield f"hooks    cannot be read: {found.problem}"
    elif not found.exists:
        yield "hooks    not installed: there is no hooks.json"
    elif not found.events:
        yield "hooks    not installed: hooks.json holds none of ours"
    else:
        yield f"hooks    installed for {', '.join(found.events)}"
    yield f"file     {found.file}"
    yield "Turns that are started through the server need no hooks."


def _as_json(found: Found) -> dict[str, object]:
    return {
        "installed": bool(found.events),
        "events": list(found.events),
        "file": str(found.file),
        "fileExists": found.exists,
        "problem": found.problem,
        "neededForTurnsOfTheServer": False,
    }


if __name__ == "__main__":
    main()
