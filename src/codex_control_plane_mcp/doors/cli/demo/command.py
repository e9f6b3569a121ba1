"""The command: runs the story, and whatever happens ends what it started."""

import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.console import Console

from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.doors.cli import clients
from codex_control_plane_mcp.doors.cli.client import Interaction, ToolRefused, connected
from codex_control_plane_mcp.doors.cli.demo.screen import Screen
from codex_control_plane_mcp.doors.cli.demo.stage import Stage, new_folder, remove, stage_in
from codex_control_plane_mcp.doors.cli.demo.story import Decide, Outcome, Story
from codex_control_plane_mcp.doors.cli.ending import Ended, worker_process
from codex_control_plane_mcp.doors.cli.init import SCRIPT, script_path
from codex_control_plane_mcp.doors.cli.terminal import (
    console_on,
    somebody_is_there,
    typed_line,
)
from codex_control_plane_mcp.errors import ControlPlaneError

EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Options:
    yes: bool = False
    real: bool = False
    keep: bool = False
    as_json: bool = False
    picture: Path | None = None


@dataclass(slots=True)
class Performance:
    """What was performed, and what was cleared up behind it."""

    outcome: Outcome
    folder: Path
    codex_version: str | None = None
    worker: Ended | None = None
    app_server: Ended | None = None
    removed: bool = False

    @property
    def nothing_runs(self) -> bool:
        return all(ended is None or ended.is_gone for ended in (self.worker, self.app_server))


def run(options: Options) -> int:
    """The exit code."""
    if not options.yes and not somebody_is_there():
        sys.stderr.write(
            "The demo asks you for an approval, and standard input is not a terminal: run it in a "
            "terminal, or give --yes.\n"
        )
        return 2
    console = _console(options)
    screen = Screen(console)
    performance = Performance(Outcome(), new_folder())
    began = time.monotonic()
    code = EXIT_INTERRUPTED
    try:
        with _sigterm_as_ctrl_c():
            anyio.run(_perform, options, screen, performance)
        code = 0 if performance.outcome.is_success and performance.nothing_runs else 1
    except KeyboardInterrupt:
        performance.outcome.problem = "interrupted"
    finally:
        if not options.keep and performance.nothing_runs:
            performance.removed = remove(performance.folder)
        _close(options, screen, performance)
    if options.picture is not None:
        _save_picture(console, options.picture)
    if options.as_json:
        seconds = time.monotonic() - began
        sys.stdout.write(json.dumps(_as_json(performance, code, seconds)) + "\n")
    return code


def _console(options: Options) -> Console:
    """Where the story is told; standard output belongs to the JSON line, if one is wanted."""
    if options.picture is not None:
        return Console(record=True, width=88, force_terminal=True, highlight=False)
    return console_on(sys.stderr if options.as_json else sys.stdout)


def _save_picture(console: Console, file: Path) -> None:
    drawn = console.export_svg(title="codex-control-plane-mcp-admin demo", unique_id="demo")
    # Rich has the viewer fetch its font from the network, and some viewers drop its spaces.
    offline = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    kept = offline.replace("<svg ", '<svg xml:space="preserve" ', 1)
    file.write_text(kept, encoding="utf-8")


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Whoever ends us politely gets the same clearing up as a person at the terminal; also where a
    shell started us in the background, which has Ctrl-C ignored."""
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: lambda *_: signal.raise_signal(signal.SIGINT),
    }
    with ExitStack() as before:
        for number, handler in handlers.items():
            before.callback(signal.signal, number, signal.signal(number, handler))
        yield


async def _perform(options: Options, screen: Screen, performance: Performance) -> None:
    try:
        async with stage_in(performance.folder, real=options.real) as stage:
            performance.codex_version = stage.codex_version
            screen.opening(stage.codex_version, real=options.real)
            try:
                await _tell(stage, screen, _decider(options, screen), performance)
            except anyio.get_cancelled_exc_class():
                screen.interrupted()
                raise
            finally:
                # Bounded within, and what was started must be ended also after Ctrl-C.
                with anyio.CancelScope(shield=True):
                    performance.worker, performance.app_server = await stage.end()
    except* _expected() as group:
        performance.outcome.problem = str(_first(group)) or type(_first(group)).__name__
        screen.problem(performance.outcome.problem)


async def _tell(stage: Stage, screen: Screen, decide: Decide, performance: Performance) -> None:
    story = Story(stage, screen, decide)
    performance.outcome = story.outcome
    screen.act("Connect a client", SCRIPT)
    began = time.monotonic()
    with (stage.folder / "pipe.log").open("w", encoding="utf-8") as errors:
        async with connected(stage.environ, stage.settings.state_db, errors) as server:
            await server.health()  # the client imports more with its first answer
            screen.connected(time.monotonic() - began, worker_process(stage.settings))
            try:
                await story.tell(server)
            finally:
                await story.leave_no_turn(server)


def _expected() -> tuple[type[Exception], ...]:
    """What may go wrong without being a mistake of this program."""
    from mcp import MCPError

    return (ToolRefused, MCPError, CodexError, ControlPlaneError, OSError, TimeoutError)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _decider(options: Options, screen: Screen) -> Decide:
    async def unattended(_: Interaction) -> str:
        # Only of the script we know what it asks for.
        decision = "decline" if options.real else "accept"
        screen.prompt(decision)
        return decision

    async def at_the_terminal(_: Interaction) -> str:
        while True:
            screen.prompt()
            typed = await typed_line()
            if typed is None:
                return "decline"
            for decision in ("accept", "decline"):
                if typed and decision.startswith(typed.lower()):
                    return decision

    return unattended if options.yes else at_the_terminal


def _close(options: Options, screen: Screen, performance: Performance) -> None:
    screen.act("What is left")
    folder = performance.folder
    operation = performance.outcome.operation
    screen.places(
        {
            "project": str(folder / "greeter"),
            "state": str(folder / "state"),
            **({} if options.real else {"Codex home": str(folder / "codex-home")}),
            **({"thread": operation.thread_id} if operation and operation.thread_id else {}),
        }
    )
    if performance.worker is not None and performance.app_server is not None:
        screen.ended(performance.worker, performance.app_server)
    screen.removed(gone=performance.removed)
    if performance.outcome.is_success:
        screen.act("Go on")
        entry = clients.Entry(_command(), {"CODEX_PROJECTS_ROOT": "~/projects"})
        screen.next_step(json.dumps(clients.block(entry)))


def _command() -> str:
    """The command as short as it works: its bare name where the path leads to it."""
    import shutil

    installed = script_path()
    return SCRIPT if shutil.which(SCRIPT) == installed else installed


def _as_json(performance: Performance, code: int, seconds: float) -> dict[str, object]:
    outcome, operation = performance.outcome, performance.outcome.operation
    return {
        "ok": code == 0,
        "status": operation.status if operation else None,
        "operationId": operation.operation_id if operation else None,
        "threadId": operation.thread_id if operation else None,
        "turnId": operation.turn_id if operation else None,
        "acknowledgedMs": outcome.acknowledged_ms and round(outcome.acknowledged_ms, 1),
        "decisions": [{"asked": asked, "decision": said} for asked, said in outcome.decisions],
        "noteWritten": outcome.note_written,
        "finalReport": outcome.report,
        "sameAsCodexRecord": outcome.same_as_codex,
        "sameOperationAgain": outcome.same_operation,
        "problem": outcome.problem,
        "codexVersion": performance.codex_version,
        "folder": None if performance.removed else str(performance.folder),
        "nothingLeftRunning": performance.nothing_runs,
        "seconds": round(seconds, 1),
    }
