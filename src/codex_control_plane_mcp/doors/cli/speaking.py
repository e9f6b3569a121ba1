"""How the commands for tasks answer: one JSON document or a page for people, and an exit code.

What goes wrong is said the same way by all of them: with --json as the envelope of the contract.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio

from codex_control_plane_mcp.doors.cli.client import ToolRefused
from codex_control_plane_mcp.doors.cli.exits import Exit, of_code
from codex_control_plane_mcp.doors.cli.words import plain
from codex_control_plane_mcp.doors.presentable import presentable
from codex_control_plane_mcp.doors.shape import Json, as_json
from codex_control_plane_mcp.errors import ControlPlaneError
from codex_control_plane_mcp.paths import PathError

PROGRAM = "codex-control-plane-mcp-admin"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong, in the words of the contract."""

    exit: Exit
    code: str
    message: str
    details: Mapping[str, object]
    retryable: bool


def carried_out(
    work: Callable[[], Awaitable[Exit]], *, as_json: bool, interrupted: str | None = None
) -> int:
    """The exit code of a command, whatever becomes of it. `interrupted`: what to say at Ctrl-C."""
    try:
        return anyio.run(work)
    except KeyboardInterrupt:
        sys.stderr.write(f"{interrupted}\n" if interrupted else "")
        return Exit.INTERRUPTED
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except Exception as error:
        trouble = _trouble(error)
        if trouble is None:
            raise
        _say(trouble, as_json=as_json)
        return trouble.exit


def document(view: object, **more: object) -> Json:
    """A view as a document: the same as the tool that shows it gives, but never cut."""
    return presentable({"ok": True, **as_json(view), **more})


def print_json(told: Mapping[str, object]) -> None:
    """One document on one line."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _say(trouble: Trouble, *, as_json: bool) -> None:
    if not as_json:
        sys.stderr.write(f"{PROGRAM}: {plain(trouble.message)}\n")
        return
    error: Json = {
        "code": trouble.code,
        "message": trouble.message,
        "details": dict(trouble.details),
        "retryable": trouble.retryable,
    }
    print_json(presentable({"ok": False, "exitCode": int(trouble.exit), "error": error}))


def _trouble(error: BaseException) -> Trouble | None:
    """What is expected to go wrong; None where it is a mistake of this program."""
    from mcp import MCPError

    match error:
        case BaseExceptionGroup():
            found = [_trouble(one) for one in error.exceptions]
            return found[0] if all(found) else None
        case ControlPlaneError():
            exit_code = of_code(error.code)
            return Trouble(exit_code, error.code, error.message, error.details, error.retryable)
        case ToolRefused():
            exit_code = of_code(error.code)
            return Trouble(exit_code, error.code, error.message, error.details, error.retryable)
        case PathError():
            return Trouble(Exit.USAGE, "INVALID_ARGUMENT", str(error), {}, retryable=False)
        case MCPError() | OSError() | TimeoutError():
            message = str(error) or "the worker did not answer"
            return Trouble(Exit.UNREACHABLE, "CODEX_STATE_BUSY", message, {}, retryable=True)
        case _:
            return None
