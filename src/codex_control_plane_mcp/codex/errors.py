"""What can go wrong between us and Codex.

    CodexError
    ├── BinaryNotFound            no Codex to start; says where we looked
    ├── AppServerUnavailable      could not start one, or reach the one there is
    │   └── UnfitCodex            the installed version speaks another language than we do
    ├── AppServerGone             the line dropped; `maybe_sent`: the call may have arrived
    ├── CallTimedOut              no answer in time; the call may have been carried out
    ├── OddAnswer                 Codex carried it out, but we cannot read its answer
    └── Refused                   Codex said no: nothing was carried out
        ├── ThreadNotFound        `no rollout found` and its kin: no turn was ever accepted
        ├── ThreadUnreadable      its file is there and cannot be read, e.g. after kill -9
        ├── ThreadArchived        it was put away, and takes no turns
        ├── ThreadElsewhere       another process has the thread loaded, and may write to it
        ├── NoActiveTurn          nothing to steer or interrupt
        ├── WrongActiveTurn       another turn is active; `found` is its id
        ├── ShuttingDown          it drains: running turns end, new ones go elsewhere
        ├── Overloaded            -32001, still after our retries
        └── NotSupported          this Codex does not know the method
            └── HistoryNotReady   … or the thread has no stored turn yet: proves nothing

No JSON-RPC error leaves this room.
"""


class CodexError(Exception):
    """Anything that went wrong between us and Codex."""


class BinaryNotFound(CodexError):
    """There is no Codex binary where we looked."""


class AppServerUnavailable(CodexError):
    """No app-server could be started or reached."""


class UnfitCodex(AppServerUnavailable):
    """The installed Codex is not taken into service; the message says why, and what to do."""


class AppServerGone(CodexError):
    """The connection to the app-server is lost."""

    def __init__(self, message: str, *, maybe_sent: bool) -> None:
        super().__init__(message)
        #: Whether the call may have reached Codex: then look for evidence, do not ask again.
        self.maybe_sent = maybe_sent


class CallTimedOut(CodexError):
    """Codex did not answer in time. The call may have been carried out."""

    def __init__(self, method: str, seconds: float) -> None:
        super().__init__(f"Codex did not answer {method} within {seconds:g} s")
        self.method = method
        self.seconds = seconds


class OddAnswer(CodexError):
    """Codex answered, so it took the call, but in a shape that we do not know."""


class Refused(CodexError):
    """Codex answered with an error: the call was not carried out."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"Codex refused ({code}): {message}")
        self.code = code
        self.reason = message


class ThreadNotFound(Refused):
    """Codex has no such thread on disk or in memory."""


class ThreadUnreadable(Refused):
    """What Codex has stored of the thread it cannot read: a process that was killed left it so."""


class ThreadArchived(Refused):
    """The thread was put away; it must be brought back before it can be used."""


class ThreadElsewhere(Refused):
    """Another process has the thread loaded: it alone may write to it, until it ends."""


class NoActiveTurn(Refused):
    """There is no turn to steer or interrupt."""


class WrongActiveTurn(Refused):
    """Another turn than the expected one is active."""

    def __init__(self, code: int, message: str, found: str) -> None:
        super().__init__(code, message)
        self.found = found


class ShuttingDown(Refused):
    """The app-server drains and takes no new work."""


class Overloaded(Refused):
    """The app-server has no room; it took nothing."""


class NotSupported(Refused):
    """This version of Codex does not offer the method."""


class HistoryNotReady(NotSupported):
    """The thread has no stored turn *yet*: said of new threads, and for a moment after `turn/start`
    was accepted. It proves nothing; ask again."""
