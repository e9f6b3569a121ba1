"""`codex-control-plane-mcp-hooks`: have Codex tell us of the turns that people type.

Turns that are started through the server need no hooks: the worker hears of them directly.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codex_control_plane_mcp import __version__

if TYPE_CHECKING:
    from codex_control_plane_mcp.settings import Settings

PROGRAM = "codex-control-plane-mcp-hooks"

EXIT_USAGE = 2
EXIT_NOT_ASKED = 3

app = typer.Typer(
    help="Hooks of Codex that report to the control plane: with them the turns that people type "
    "in Codex are found by its search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

_StateDb = Annotated[
    str | None,
    typer.Option("--state-db", metavar="PATH", help="The state; default: as the settings say."),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
def install(
    state_db: _StateDb = None,
    trust: Annotated[
        bool | None,
        typer.Option(
            "--trust/--no-trust",
            help="Have Codex run them without asking you; at a terminal you are asked.",
        ),
    ] = None,
) -> None:
    """Put our handler into $CODEX_HOME/hooks.json, for the state that is in force.

    What others wrote there is kept to the letter, and the file as it was is kept beside it. Codex
    runs no hook that nobody trusts: trusting is yours to decide. To run it again changes nothing.

    Exit codes: 0 installed (and trusted, if you said so), 1 the file cannot be changed or Codex
    does not trust them, 2 the command or a setting is wrong.
    """
    from codex_control_plane_mcp.doors.cli.hooks_install import install

    raise typer.Exit(install(_chosen(state_db), trust))


@app.command()
def uninstall() -> None:
    """Take our handler out of $CODEX_HOME/hooks.json, and nothing else.

    What was told so far stays in the state.

    Exit codes: 0 nothing of ours is in the file, 1 the file cannot be changed, 2 the command or a
    setting is wrong.
    """
    from codex_control_plane_mcp.doors.cli.hooks_install import uninstall

    raise typer.Exit(uninstall(_chosen(None)))


@app.command()
def status(as_json: _AsJson = False) -> None:
    """Say whether our hook handler is in $CODEX_HOME/hooks.json.

    Whether Codex runs it, `doctor` finds out.

    Exit codes: 0 said, 1 the file cannot be read, 2 the command or a setting is wrong.
    """
    found = look(_chosen(None).codex_home)
    _print(_as_json(found) if as_json else None, _lines(found))
    raise typer.Exit(0 if found.problem is None else 1)


@app.command()
def doctor(state_db: _StateDb = None, as_json: _AsJson = False) -> None:
    """Find out whether Codex runs our hooks, and if not, why.

    Looks at the file, starts the hook with nothing to tell, and asks a Codex of its own.

    Exit codes: 0 Codex runs them, 1 it does not (the reasons are said), 2 the command or a setting
    is wrong, 3 everything looks right but Codex could not be asked.
    """
    import anyio

    from codex_control_plane_mcp.doors.cli.hooks_doctor import Finding, examine

    def lines(found: Sequence[Finding]) -> Iterator[str]:
        for one in found:
            yield f"{one.about:<8} {one.problem}"
            yield f"         {one.advice}"
        if not found:
            yield "Codex runs our hooks. Chats that were open before go on without them."

    found = anyio.run(examine, _chosen(state_db))
    told = {
        "ok": not found,
        "findings": [
            {"about": one.about, "problem": one.problem, "advice": one.advice} for one in found
        ],
    }
    _print(told if as_json else None, lines(found))
    if not found:
        raise typer.Exit(0)
    raise typer.Exit(EXIT_NOT_ASKED if all(one.about == "codex" for one in found) else 1)


def _chosen(state_db: str | None) -> "Settings":
    from codex_control_plane_mcp import paths, settings

    chosen = settings.load(os.environ)
    if state_db is None:
        return chosen
    return replace(chosen, state_db=Path(paths.canonical(state_db)))


def look(codex_home: Path) -> Found:
    """What is installed in this Codex home."""
    from codex_control_plane_mcp.doors.cli import config_file, hooks_file

    file = codex_home / hooks_file.NAME
    try:
        text = hooks_file.read(file)
    except config_file.Unreadable as error:
        return Found(file, exists=True, problem=str(error))
    if text is None:
        return Found(file, exists=False)
    events = dict.fromkeys(str(one.event.key) for one in hooks_file.handlers(text))
    return Found(file, exists=True, events=tuple(events))


def _print(as_json: object, lines: Iterator[str]) -> None:
    if as_json is not None:
        sys.stdout.write(json.dumps(as_json) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines)


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
