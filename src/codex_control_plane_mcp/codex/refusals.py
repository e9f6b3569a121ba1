"""Codex's error answers, translated: from codes and English sentences to `codex.errors`.

Codex gives most refusals the code -32600 and tells them apart in words only, so its sentences are
matched here and nowhere else. The contract tests make the real binary say each of them.
"""

import re

from codex_control_plane_mcp.codex import errors
from codex_control_plane_mcp.rpc.errors import (
    Disconnected,
    NotSent,
    RemoteError,
    RpcError,
    TimedOut,
)
from codex_control_plane_mcp.rpc.peer import METHOD_NOT_FOUND, OVERLOADED

_WRONG_TURN = re.compile(r"expected active turn id `?[^`\s]*`? but found `?([^`\s]+)")
_NO_THREAD = re.compile(
    r"no rollout found|no archived rollout found|thread not found|thread not loaded"
    r"|invalid session id|invalid thread id"
)
_UNREADABLE = re.compile(r"failed to read (?:thread|session metadata)|rollout .* is empty")
_ARCHIVED = re.compile(r"is archived")
_ELSEWHERE = re.compile(r"already has an active writer")
_NO_TURN = re.compile(r"no active turn")
_NOT_SUPPORTED = re.compile(r"unknown variant|requires experimentalApi")
_NOT_READY = re.compile(r"is not supported yet|is not materialized yet")


def translated(error: RpcError) -> errors.CodexError:
    """What the error means."""
    match error:
        case RemoteError():
            return _refusal(error)
        case TimedOut():
            return errors.CallTimedOut(error.method, error.seconds)
        case Disconnected():
            return errors.AppServerGone(str(error), maybe_sent=not isinstance(error, NotSent))
        case _:
            return errors.CodexError(str(error))


def _refusal(error: RemoteError) -> errors.Refused:
    code, message = error.code, error.message
    if wrong_turn := _WRONG_TURN.search(message):
        return errors.WrongActiveTurn(code, message, wrong_turn[1])
    return _kind(error)(code, message)


def _kind(error: RemoteError) -> type[errors.Refused]:
    if error.code == OVERLOADED:
        return errors.Overloaded
    if _NOT_READY.search(error.message):
        return errors.HistoryNotReady
    if error.code == METHOD_NOT_FOUND or _NOT_SUPPORTED.search(error.message):
        return errors.NotSupported
    if _says_shutting_down(error):
        return errors.ShuttingDown
    if _NO_THREAD.search(error.message):
        return errors.ThreadNotFound
    if _UNREADABLE.search(error.message):
        return errors.ThreadUnreadable
    if _ARCHIVED.search(error.message):
        return errors.ThreadArchived
    if _ELSEWHERE.search(error.message):
        return errors.ThreadElsewhere
    if _NO_TURN.search(error.message):
        return errors.NoActiveTurn
    return errors.Refused


def _says_shutting_down(error: RemoteError) -> bool:
    return isinstance(error.data, dict) and error.data.get("reason") == "serverShuttingDown"
