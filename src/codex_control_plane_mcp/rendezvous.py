"""How a pipe finds, starts and greets the worker of one state.

Beside the state database PATH lie
    PATH.worker.json   where the worker listens; it writes this, mode 0600, before it says `ready`
    PATH.worker.lock   held by the worker for life: one worker per state
    PATH.start.lock    held by whoever starts one: one starter at a time
    PATH.worker.sock   its socket, unless that path is too long for the system

Greeting: one JSON line each way. The pipe says who it is and shows the token of a TCP worker; the
worker says who it is and which calls may safely be sent again. After that the bytes are MCP's,
unless the caller wants a link to the page: then one more line holds that, and the worker hangs up.
A pipe's half and a worker's half are both here, so that they cannot drift apart; the worker's
serving itself is not.
"""

# pathlib would cost the pipe more to import than all that it imports from here.
# ruff: noqa: PTH106, PTH108, PTH118, PTH119, PTH120, PTH123

from __future__ import annotations

import os
import sys

# `_socket` is what `socket` wraps: half the import, and the pipe needs nothing of the wrapping.
from _socket import AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY
from _socket import socket as Socket  # noqa: N812

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.framing import Malformed, compact, parse
from codex_control_plane_mcp.paths import replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from subprocess import Popen

DESCRIPTOR_FORMAT = 1
GREETING_FORMAT = 1

#: sun_path holds 104 bytes on macOS and 108 on Linux, with the final NUL.
MAX_SOCKET_PATH_BYTES = 100
#: A greeting is a few hundred bytes; whoever sends more without a line end is not our worker.
MAX_GREETING_BYTES = 64 * 1024
#: A worker greets as soon as its event loop turns; longer means that it is stopped or stuck.
GREETING_SECONDS = 10.0
#: A cold start imports the SDK and opens the book (about a second, more than half a minute on a
#: machine that is overloaded), and may migrate a large one. Clients give a server a minute.
START_SECONDS = 55.0
#: Between the end of a failed start's output and the end of its process.
EXIT_SECONDS = 2.0


#: What a caller may want in place of an MCP session.
PAGE = "page"


class WorkerUnavailable(Exception):
    """No worker can be had now; the message says why and what to do."""


class Worker:
    """A greeted worker: a connected socket and what the worker said of itself."""

    __slots__ = ("early", "keyed", "pid", "repeatable", "socket", "tools")

    def __init__(self, socket: Socket, greeting: Mapping[str, object], early: bytes) -> None:
        self.socket = socket
        #: Bytes that followed the greeting in the same read.
        self.early = early
        self.pid = greeting.get("pid")
        #: The hash of its list of tools.
        self.tools = greeting.get("tools")
        #: Tools whose calls may be sent again.
        self.repeatable = _names(greeting.get("repeatable"))
        #: Tools whose calls may be sent again when they carry a `client_request_id`.
        self.keyed = _names(greeting.get("keyed"))


# ── the pipe's half ──────────────────────────────────────────────────────────────────────────────


def connect(state_db: str, wants: str | None = None) -> Worker | None:
    """The worker of this state, greeted; None when nobody answers."""
    descriptor = read_descriptor(state_db)
    socket = None if descriptor is None else _dial(descriptor)
    if descriptor is None or socket is None:
        return None
    try:
        return _greet(socket, descriptor.token, wants)
    except (TimeoutError, Malformed) as error:
        socket.close()
        if _worker_lives(state_db):
            raise WorkerUnavailable(
                f"the worker (pid {descriptor.pid}) accepts connections but does not greet; it may "
                "be stopped or very busy: try again, or end that process"
            ) from error
        return None  # a stranger took over the address of a dead worker
    except OSError:  # it hung up: dead or leaving
        socket.close()
        return None
    except WorkerUnavailable:
        socket.close()
        raise


def connect_or_start(
    state_db: str, environ: Mapping[str, str], argv: Sequence[str] | None = None
) -> Worker:
    """The worker of this state, started first if nobody answers (by one starter at a time).

    `argv` is the command that starts one, if it is not the usual `worker_command`.
    """
    if (worker := connect(state_db)) is not None:
        return worker
    from codex_control_plane_mcp.locks import FileLock
    from codex_control_plane_mcp.paths import make_private_folder

    try:
        make_private_folder(os.path.dirname(state_db))
        with FileLock(start_lock_path(state_db)):
            if (worker := connect(state_db)) is not None:
                return worker  # somebody else started it while we waited
            failure = _start(argv or worker_command(state_db), environ, os.path.dirname(state_db))
            worker = connect(state_db)
    except OSError as error:
        raise WorkerUnavailable(f"cannot start the worker of {state_db}: {error}") from error
    if worker is None:
        raise WorkerUnavailable(failure or "the worker said it was ready but does not answer")
    return worker


def worker_command(state_db: str) -> list[str]:
    # -P: the state folder, where it starts, must not become a place to import from.
    module = "codex_control_plane_mcp.app.worker"
    return [sys.executable, "-P", "-m", module, "--ready-stdout", "--state-db", state_db]


def _dial(descriptor: Descriptor) -> Socket | None:
    family, address = _endpoint(descriptor)
    socket = Socket(family, SOCK_STREAM)
    try:
        socket.settimeout(GREETING_SECONDS)
        socket.connect(address)
        if descriptor.kind == "tcp":
            socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    except (FileNotFoundError, ConnectionError):
        socket.close()
        return None
    except (BlockingIOError, TimeoutError) as error:
        socket.close()
        raise WorkerUnavailable(
            f"the worker (pid {descriptor.pid}) has too many callers waiting: try again"
        ) from error
    except OSError as error:
        socket.close()
        raise WorkerUnavailable(f"cannot reach the worker at {address}: {error}") from error
    return socket


def _endpoint(descriptor: Descriptor) -> tuple[int, str | tuple[str, int]]:
    if descriptor.kind == "tcp":
        return AF_INET, (descriptor.host, descriptor.port)
    if sys.platform == "win32":
        raise WorkerUnavailable("the worker listens on a unix socket, which Windows cannot reach")
    else:  # noqa: RET506  mypy takes the branch for the platform only so
        from _socket import AF_UNIX

        return AF_UNIX, descriptor.path


def page_link(state_db: str, environ: Mapping[str, str]) -> str:
    """A link to the worker's page that can be used once; the worker is started if none answers."""
    connect_or_start(state_db, environ).socket.close()
    worker = connect(state_db, PAGE)
    if worker is None:
        raise WorkerUnavailable("the worker is just leaving: try again")
    try:
        worker.socket.settimeout(GREETING_SECONDS)
        line, _ = _line(worker.socket, worker.early)
        told = parse(line)
    except (OSError, Malformed) as error:
        raise WorkerUnavailable(
            "the worker gave no link; it may be of an older release: "
            "`codex-control-plane-mcp-admin stop --worker-only` ends it, then try again"
        ) from error
    finally:
        worker.socket.close()
    if not isinstance(link := told.get("page"), str):
        raise WorkerUnavailable(str(told.get("error")))
    return link


def _line(socket: Socket, received: bytes) -> tuple[bytes, bytes]:
    """The first line, and what came behind it."""
    while b"\n" not in received:
        chunk = socket.recv(4096)
        if not chunk:
            raise ConnectionAbortedError("hung up before its greeting")
        received += chunk
        if len(received) > MAX_GREETING_BYTES:
            raise Malformed(b"the greeting has no end")
    line, _, early = received.partition(b"\n")
    return line, early


def _greet(socket: Socket, token: str | None, wants: str | None) -> Worker:
    socket.sendall(pipe_greeting(token, wants))
    line, early = _line(socket, b"")
    greeting = parse(line)
    if isinstance(refusal := greeting.get("error"), str):
        raise WorkerUnavailable(f"the worker refuses this pipe: {refusal}")
    if greeting.get("worker") != GREETING_FORMAT:
        raise Malformed(b"the greeting is not a worker's")
    socket.settimeout(None)
    return Worker(socket, greeting, early)


def _worker_lives(state_db: str) -> bool:
    from codex_control_plane_mcp.locks import is_held

    return is_held(worker_lock_path(state_db))


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        return frozenset()
    return frozenset(name for name in value if isinstance(name, str))


# ── starting one ─────────────────────────────────────────────────────────────────────────────────


def _start(argv: Sequence[str], environ: Mapping[str, str], folder: str) -> str | None:
    """Start a worker and wait for its word; None when it is ready, else what went wrong."""
    import threading

    process = _spawn(argv, environ, folder)
    said: list[bytes] = []
    heard, ended = threading.Event(), threading.Event()

    def listen() -> None:
        # One line, or the end of the output. The end of the process is awaited too: the worker is
        # nobody's child but ours, and would stay a zombie for as long as we live.
        if process.stdout is not None:
            with process.stdout:
                said.append(process.stdout.readline(MAX_GREETING_BYTES))
        heard.set()
        process.wait()
        ended.set()

    threading.Thread(target=listen, daemon=True, name="worker-start").start()
    # A thread, since a pipe cannot be awaited with a time limit on Windows.
    if not heard.wait(START_SECONDS):
        return (
            f"the worker (pid {process.pid}) is not ready after {START_SECONDS:.0f} s; it may "
            "still come up: try again"
        )
    word = said[0].decode("utf-8", "replace").strip() if said else ""
    if word == "ready":
        return None
    if word.startswith("error:"):
        return f"the worker cannot start: {word.removeprefix('error:').strip()}"
    ended.wait(EXIT_SECONDS)
    return (
        f"the worker ended before it was ready (exit code {process.poll()}); to see why, run: "
        + " ".join(argv)
    )


def _spawn(argv: Sequence[str], environ: Mapping[str, str], folder: str) -> Popen[bytes]:
    """The worker outlives us and our terminal: own session, nobody's streams, its own folder."""
    from subprocess import DEVNULL, PIPE, Popen

    if sys.platform == "win32":
        from subprocess import CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS

        return Popen(
            argv,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd=folder,
            env=environ,
            creationflags=DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP,
        )
    return Popen(
        argv,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=DEVNULL,
        cwd=folder,
        env=environ,
        start_new_session=True,
    )


# ── where it listens ─────────────────────────────────────────────────────────────────────────────


class Descriptor:
    """Where a worker listens, and who it is. The token is a secret: the file is mode 0600."""

    __slots__ = ("host", "kind", "path", "pid", "port", "started_at", "token", "version")

    def __init__(
        self,
        *,
        kind: str,
        path: str = "",
        host: str = "",
        port: int = 0,
        token: str | None = None,
        pid: int = 0,
        started_at: str = "",
        version: str = __version__,
    ) -> None:
        self.kind = kind
        self.path = path
        self.host = host
        self.port = port
        self.token = token
        self.pid = pid
        self.started_at = started_at
        self.version = version


def descriptor_path(state_db: str) -> str:
    return state_db + ".worker.json"


def start_lock_path(state_db: str) -> str:
    return state_db + ".start.lock"


def worker_lock_path(state_db: str) -> str:
    return state_db + ".worker.lock"


def read_descriptor(state_db: str) -> Descriptor | None:
    """Where a worker listens or once listened; None if none does or the file is not to be used."""
    try:
        with open(descriptor_path(state_db), "rb") as file:
            stored = parse(file.read(MAX_GREETING_BYTES))
    except (FileNotFoundError, NotADirectoryError, Malformed):
        return None
    except OSError as error:
        raise WorkerUnavailable(
            f"cannot read {descriptor_path(state_db)}: {error.strerror}; check who owns it"
        ) from error
    if stored.get("format") != DESCRIPTOR_FORMAT:
        return None
    try:
        return _descriptor_of(stored)
    except (KeyError, TypeError, ValueError):
        return None


def _descriptor_of(stored: Mapping[str, object]) -> Descriptor:
    pid, started_at = _int(stored["pid"]), str(stored["startedAt"])
    version = str(stored["version"])
    if stored["kind"] == "unix":
        path = str(stored["path"])
        return Descriptor(kind="unix", path=path, pid=pid, started_at=started_at, version=version)
    if stored["kind"] != "tcp":
        raise ValueError("an unknown kind of address")
    return Descriptor(
        kind="tcp",
        host=str(stored["host"]),
        port=_int(stored["port"]),
        token=str(stored["token"]),
        pid=pid,
        started_at=started_at,
        version=version,
    )


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("not a whole number")
    return value


# ── the worker's half ────────────────────────────────────────────────────────────────────────────


def choose_address(state_db: str, *, beside: bool = True) -> Descriptor:
    """Where a new worker shall listen; the caller fills in `port`, `pid` and `started_at`.

    A unix socket beside the database, or in a fresh private folder if that path is too long for
    the system (or, with `beside=False`, because its file system takes no sockets). The socket of a
    worker that died is removed: call this only while holding the worker lock. On Windows loopback
    TCP with a token; port 0 asks the system for one.
    """
    if sys.platform == "win32":
        import secrets

        return Descriptor(kind="tcp", host="127.0.0.1", token=secrets.token_urlsafe(32))
    path = state_db + ".worker.sock"
    if not beside or len(os.fsencode(path)) >= MAX_SOCKET_PATH_BYTES:
        import tempfile

        path = os.path.join(tempfile.mkdtemp(prefix=_SOCKET_FOLDER_PREFIX), "worker.sock")
    _remove(path)
    return Descriptor(kind="unix", path=path)


def write_descriptor(state_db: str, descriptor: Descriptor) -> None:
    """Announce where we listen, in one step: a reader sees the old file or the new one."""
    stored: dict[str, object] = {"format": DESCRIPTOR_FORMAT, "kind": descriptor.kind}
    if descriptor.kind == "tcp":
        stored |= {"host": descriptor.host, "port": descriptor.port, "token": descriptor.token}
    else:
        stored["path"] = descriptor.path
    stored |= {
        "pid": descriptor.pid,
        "startedAt": descriptor.started_at,
        "version": descriptor.version,
    }
    replace_file(descriptor_path(state_db), compact(stored) + b"\n")


def withdraw(state_db: str, descriptor: Descriptor) -> None:
    """Take back the announcement and the socket, before the worker lock is released."""
    _remove(descriptor_path(state_db))
    if descriptor.kind == "unix":
        _remove(descriptor.path)
        folder = os.path.dirname(descriptor.path)
        if os.path.basename(folder).startswith(_SOCKET_FOLDER_PREFIX):
            os.rmdir(folder)


class PipeGreeting:
    """What a pipe said of itself."""

    __slots__ = ("pid", "version", "wants")

    def __init__(self, version: str, pid: int, wants: object = None) -> None:
        self.version = version
        self.pid = pid
        #: `PAGE`, or nothing: an MCP session.
        self.wants = wants


class Unwelcome(Exception):
    """A greeting to be refused; `answer` is the line to send before hanging up."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.answer = compact({"error": why}) + b"\n"


def pipe_greeting(token: str | None, wants: str | None = None) -> bytes:
    greeting = {"pipe": GREETING_FORMAT, "version": __version__, "token": token, "pid": os.getpid()}
    if wants is not None:
        greeting["wants"] = wants
    return compact(greeting) + b"\n"


def worker_greeting(repeatable: Iterable[str], keyed: Iterable[str], tools: str) -> bytes:
    """What a worker says first; `tools` is the hash of its list of tools."""
    greeting = {
        "worker": GREETING_FORMAT,
        "version": __version__,
        "pid": os.getpid(),
        "repeatable": sorted(repeatable),
        "keyed": sorted(keyed),
        "tools": tools,
    }
    return compact(greeting) + b"\n"


def page_answer(link: str | None, error: str | None = None) -> bytes:
    """What a worker says to who wants its page."""
    return compact({"page": link} if error is None else {"error": error}) + b"\n"


def read_pipe_greeting(line: bytes, token: str | None) -> PipeGreeting:
    """Check what a caller says first; `token` is the one that a TCP worker demands."""
    from hmac import compare_digest

    try:
        greeting = parse(line)
    except Malformed as error:
        raise Unwelcome("the greeting is not a JSON object") from error
    shown = greeting.get("token")
    if token is not None:
        offered = shown if isinstance(shown, str) else ""
        if not compare_digest(offered.encode("utf-8", "replace"), token.encode("utf-8")):
            raise Unwelcome("wrong token; read the worker's descriptor again")
    version, pid = greeting.get("version"), greeting.get("pid")
    if greeting.get("pipe") != GREETING_FORMAT:
        raise Unwelcome(f"this worker speaks greeting {GREETING_FORMAT}; restart the MCP client")
    if not isinstance(version, str) or not isinstance(pid, int):
        raise Unwelcome("the greeting lacks `version` or `pid`")
    return PipeGreeting(version, pid, greeting.get("wants"))


def is_newer(version: str, than: str) -> bool:
    """Whether one release is later than another. What is no release number is not."""
    return _release(version) > _release(than)


def _release(version: str) -> tuple[int, ...]:
    numbers = version.split("+")[0].split(".")
    return tuple(map(int, numbers)) if all(number.isdecimal() for number in numbers) else ()


#: Folders with this beginning are made and removed here.
_SOCKET_FOLDER_PREFIX = "codex-mcp-"


def _remove(path: str) -> None:
    try:  # noqa: SIM105  contextlib would be one more import for every pipe
        os.unlink(path)
    except FileNotFoundError:
        pass
