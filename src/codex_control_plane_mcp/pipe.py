"""The process an MCP client starts: it copies lines between the client and the worker.

It holds no state that matters: killing it loses nothing. What it does know is what the client is
still owed. When the worker goes away, by an upgrade, a crash or a kill, the pipe finds or starts
the next one, repeats the client's handshake, and sends the unanswered requests again where that
is safe; the rest it answers itself, saying that their fate is unknown.

While there is no worker it answers by itself what the release alone decides (see `surface`), so
that no client waits for a worker to be connected. It does not interpret MCP beyond that, keeps to
the standard library, and writes nothing but protocol to stdout.

Two threads, since stdin cannot be awaited together with a socket on Windows:
    the client's   (main)  reads stdin, sends to the worker, decides when to leave
    the worker's           connects, repeats, reads the worker's answers, writes them to stdout
"""

from __future__ import annotations

import os
import sys
import threading
import time
from _socket import SHUT_RDWR, SHUT_WR

from codex_control_plane_mcp import framing, rendezvous, surface
from codex_control_plane_mcp.framing import LineSplitter, Malformed, Oversized
from codex_control_plane_mcp.rendezvous import WorkerUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from codex_control_plane_mcp.surface import Surface

    Id = str | int | float

CHUNK_BYTES = 64 * 1024
#: The worker is ours and keeps its answers far below this; beyond it, it is not to be believed.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
#: Repeating the handshake and the requests to a new worker; it answers a handshake at once.
ATTACH_SECONDS = 10.0
#: Pauses after the first, second, ... connection in a row that brought nothing.
BACK_OFF_SECONDS = (0.0, 0.1, 0.5, 2.0)
#: How often a request may lose its worker before the client hears of it: it may be the cause.
MAX_LOSSES = 4
#: After the client hung up: for the worker to answer what it was already handed.
GRACE_SECONDS = 2.0


def run(state_db: str, environ: Mapping[str, str], worker_argv: Sequence[str] | None = None) -> int:
    """Serve the client on stdin and stdout until it leaves; returns the exit code.

    `worker_argv` is the command that starts a worker, if it is not the usual one.
    """
    return Pipe(
        lambda: rendezvous.connect_or_start(state_db, environ, worker_argv),
        lambda: surface.load(environ),
    ).run()


def run_without_worker(why: str) -> int:
    """Serve a client whose settings are unusable: every request is told why."""

    def refuse() -> rendezvous.Worker:
        raise WorkerUnavailable(why)

    return Pipe(refuse).run()


class Request:
    """A request of the client's that is not answered yet."""

    __slots__ = ("id", "keyed", "line", "losses", "repeatable", "sent", "tool")

    def __init__(self, request_id: Id, line: bytes, message: dict[str, Any]) -> None:
        self.id = request_id
        self.line = line
        #: The tool that it calls; None for any other method. Those are all safe to repeat.
        self.tool: str | None = None
        #: The tool call carries a `client_request_id`.
        self.keyed = False
        self.sent = False
        self.repeatable = True
        self.losses = 0
        if message["method"] == "tools/call":
            params = message.get("params")
            params = params if isinstance(params, dict) else {}
            self.tool = str(params.get("name", ""))
            arguments = params.get("arguments")
            self.keyed = isinstance(arguments, dict) and bool(arguments.get("client_request_id"))

    def send_to(self, worker: rendezvous.Worker) -> None:
        self.sent = True
        self.repeatable = (
            self.tool is None
            or self.tool in worker.repeatable
            or (self.keyed and self.tool in worker.keyed)
        )
        line = self.line
        if not self.repeatable:
            self.line = b""  # it will not be needed again, and prompts are long
        worker.socket.sendall(line + b"\n")

    def refusal(self, why: str) -> bytes:
        """The answer to give in the worker's stead."""
        if self.tool is None:
            return framing.error_line(self.id, framing.INTERNAL_ERROR, why)
        error = {"code": "CODEX_STATE_BUSY", "message": why, "details": {}, "retryable": True}
        envelope = {"ok": False, "error": error}
        result = {
            "content": [{"type": "text", "text": framing.compact(envelope).decode("ascii")}],
            "structuredContent": envelope,
            "isError": True,
        }
        return framing.compact({"jsonrpc": "2.0", "id": self.id, "result": result})

    def loss(self) -> bytes:
        """The answer when its worker went away and it cannot be sent again."""
        return self.refusal(_fate_of(self))


def _fate_of(request: Request) -> str:
    if request.repeatable:
        return (
            f"The worker went away {request.losses} times before it answered; this request may be "
            "the cause. Look at codex_health_summary, then try again."
        )
    return (
        f"The worker went away before it answered {request.tool}: the call may or may not have "
        "been stored. Look with codex_get_queue_status, or codex_get_operation_status if the "
        "operation is known, before calling again; a client_request_id makes a call safe to repeat."
    )


#: The methods of which `surface` may know the answer.
_ANSWERED = frozenset(
    ("initialize", "server/discover", "tools/list", "prompts/list", "resources/templates/list")
)


class ClientGone(Exception):
    """Nobody reads our stdout any more."""


class Pipe:
    """One client's connection, over as many workers as it takes.

    `reach` gives a greeted worker, starting one if need be, or raises `WorkerUnavailable`; `known`
    gives what needs none.
    """

    def __init__(
        self,
        reach: Callable[[], rendezvous.Worker],
        known: Callable[[], Surface | None] = lambda: None,
        *,
        source: int = 0,
        sink: int = 1,
    ) -> None:
        self._reach = reach
        self._known = known
        self._source = source
        self._sink = sink
        self._writing = threading.Lock()
        #: Guards what follows, and is held while a line goes to the worker, so that lines stay
        #: whole and `sent` stays true. The worker's thread reads answers without it: however long
        #: the worker takes to accept a line, its answers are taken off its hands.
        self._lock = threading.Lock()
        self._needed = threading.Condition(self._lock)
        self._worker: rendezvous.Worker | None = None
        #: Requests without an answer, in the order they came.
        self._owed: dict[Id, Request] = {}
        self._hello: Request | None = None  # `initialize`, answered or not
        self._hello_done: bytes | None = None  # `notifications/initialized`
        #: What an older client subscribed to, by URI; a later worker must hear of it too.
        self._subscribed: dict[str, Request] = {}
        #: Subscriptions that are being repeated: the client had its answers long ago.
        self._repeated: set[Id] = set()
        #: What needs no worker, once it was asked for.
        self._surface: Surface | None = None
        #: The hash of the list of tools as the client may have read it.
        self._tools: object = None
        self._had_worker = False
        #: Questions of the present worker to the client, and of workers that went away.
        self._asked: set[Id] = set()
        self._orphaned: set[Id] = set()
        self._hung_up = False
        self._settled = threading.Event()

    def run(self) -> int:
        _make_blocking(self._source)
        _make_blocking(self._sink)
        threading.Thread(target=self._worker_thread, daemon=True, name="worker").start()
        try:
            self._read_client()
            self._leave()
        except ClientGone:
            pass
        return 0

    # ── from the client ──────────────────────────────────────────────────────────────────────

    def _read_client(self) -> None:
        lines = LineSplitter()
        while chunk := self._read():
            for line in lines.feed(chunk):
                if isinstance(line, Oversized):
                    self._write(framing.line_too_long())
                else:
                    self._from_client(line)
        # A last line without its end is a message all the same if it is whole JSON.
        if half := lines.finish():
            self._from_client(half)

    def _read(self) -> bytes:
        try:
            return os.read(self._source, CHUNK_BYTES)
        except OSError:  # the client vanished: the same as its hanging up
            return b""

    def _from_client(self, line: bytes) -> None:
        try:
            message = framing.parse(line)
        except Malformed as error:
            self._write(error.answer)
            return
        answer = b""
        with self._lock:
            request, passes = self._note(line, message), self._may_pass(message)
            if self._worker is not None:
                self._send(self._worker, request, line if passes else b"")
            elif request is not None:
                answer = self._answer(message)
                if answer:
                    del self._owed[request.id]
                else:
                    self._needed.notify()
            # Else it needs no worker: a handshake is repeated to the next one anyway, and other
            # notifications, and answers to a worker that is gone, mean nothing to it.
        if answer:
            self._write(answer)

    def _answer(self, message: dict[str, Any]) -> bytes:
        """What needs no worker to be answered; nothing for the rest."""
        if message["method"] not in _ANSWERED:
            return b""
        known = self._surface = self._surface or self._known()
        if known is None:
            return b""
        greeting = None if self._hello is None else framing.parse(self._hello.line).get("params")
        result = known.answer(message["method"], message.get("params"), greeting)
        if result is None:
            return b""
        self._tools = known.tools
        return framing.compact({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _send(self, worker: rendezvous.Worker, request: Request | None, line: bytes) -> None:
        try:
            if request is not None:
                request.send_to(worker)
            elif line:
                worker.socket.sendall(line + b"\n")
        except OSError:
            _shut(worker.socket)  # its thread notices, and decides about what is owed

    def _note(self, line: bytes, message: dict[str, Any]) -> Request | None:
        """Remember what a later worker may need to know of this message."""
        method, request_id = message.get("method"), _id_of(message)
        if isinstance(method, str) and request_id is not None:
            request = Request(request_id, line, message)
            if method == "initialize":
                self._hello, self._hello_done = request, None
            elif method == "resources/subscribe" and (uri := _uri_of(message)) is not None:
                self._subscribed[uri] = request
            elif method == "resources/unsubscribe" and (uri := _uri_of(message)) is not None:
                self._subscribed.pop(uri, None)
            self._owed[request_id] = request
            return request
        if method == "notifications/initialized":
            self._hello_done = line
        elif method == "notifications/cancelled":
            params = message.get("params")
            if isinstance(params, dict) and (given_up := _id_of(params, "requestId")) is not None:
                self._owed.pop(given_up, None)
        return None

    def _may_pass(self, message: dict[str, Any]) -> bool:
        """False for an answer to a question that the present worker did not ask.

        Workers may number their questions alike. When one that went away and the present one asked
        under the same id, neither answer is passed on: a decision never reaches the wrong question.
        """
        if "method" in message or (answered := _id_of(message)) is None:
            return True
        wanted = answered in self._asked and answered not in self._orphaned
        self._asked.discard(answered)
        self._orphaned.discard(answered)
        return wanted

    def _leave(self) -> None:
        """The client hung up: see that the worker has what was read, pass on its last answers."""
        with self._lock:
            self._hung_up = True
            worker = self._worker
            if worker is not None:
                _half_close(worker.socket)
        if self._owed:
            patience = GRACE_SECONDS
            if worker is None:
                patience += rendezvous.START_SECONDS + ATTACH_SECONDS
            self._settled.wait(patience)

    # ── the worker's thread ──────────────────────────────────────────────────────────────────

    def _worker_thread(self) -> None:
        try:
            self._serve()
        except ClientGone:
            os._exit(0)  # the main thread sits in a read that nothing else ends
        except Exception:  # noqa: BLE001  the border of the process
            # A pipe that is up but deaf would be worse than none: the client starts another.
            sys.excepthook(*sys.exc_info())
            os._exit(70)

    def _serve(self) -> None:
        fruitless = 0
        while True:
            try:
                worker = self._reach()
            except WorkerUnavailable as error:
                self._refuse_all(f"No worker can be reached: {error}")
            else:
                fruitless = 0 if self._converse(worker) else fruitless + 1
            if self._hung_up and not self._owed:
                self._settled.set()
                return
            if fruitless:
                time.sleep(BACK_OFF_SECONDS[min(fruitless, len(BACK_OFF_SECONDS)) - 1])
            with self._lock:
                # Not reconnected before there is something to ask: a worker leaves when idle, and
                # must not be called back for nothing.
                while not self._owed:
                    self._needed.wait()

    def _converse(self, worker: rendezvous.Worker) -> bool:
        """Everything with one worker until the connection ends. Did it say anything?"""
        heard = False
        try:
            worker.socket.settimeout(ATTACH_SECONDS)
            lines = _lines_of(worker)
            self._attach(worker, lines)
            for line in lines:
                heard = True
                self._from_worker(line)
                if self._hung_up and not self._owed:
                    break
        except OSError:
            pass
        self._detach(worker)
        return heard

    def _attach(self, worker: rendezvous.Worker, lines: Iterator[bytes]) -> None:
        greeted: Request | None = None
        while True:
            with self._lock:
                hello = self._hello
                if hello is None or hello is greeted:
                    self._hand_over(worker, greeted)
                    break
            self._greet(worker, lines, hello)
            greeted = hello
        for notice in self._missed(worker):
            self._write(notice)

    def _greet(self, worker: rendezvous.Worker, lines: Iterator[bytes], hello: Request) -> None:
        """The client's `initialize`; the answer goes to the client only if it is still waiting."""
        waiting = self._owed.get(hello.id) is hello
        hello.send_to(worker)
        for line in lines:
            if _answers(line, hello.id):
                if waiting:
                    self._from_worker(line)
                return
            self._from_worker(line)
        raise ConnectionAbortedError("the worker hung up during the handshake")

    def _hand_over(self, worker: rendezvous.Worker, greeted: Request | None) -> None:
        if greeted is not None and self._hello_done is not None:
            worker.socket.sendall(self._hello_done + b"\n")
        self._repeated.clear()
        for request in self._subscribed.values():
            if request.id not in self._owed:
                self._repeated.add(request.id)
                request.send_to(worker)
        for request in self._owed.values():
            if request is not greeted:
                request.send_to(worker)
        self._worker = worker
        if self._hung_up:
            _half_close(worker.socket)
            worker.socket.settimeout(GRACE_SECONDS)
        else:
            worker.socket.settimeout(None)

    def _missed(self, worker: rendezvous.Worker) -> list[bytes]:
        """What an older client may have missed while there was no worker: what it subscribed to may
        have changed, and the tools may be others, of another release or by other settings."""
        notices = []
        if self._had_worker:
            notices += [_notice("resources/updated", {"uri": uri}) for uri in self._subscribed]
        if self._tools not in (None, worker.tools) and self._hello_done is not None:
            notices.append(_notice("tools/list_changed", {}))
        self._had_worker, self._tools = True, worker.tools
        return notices

    def _from_worker(self, line: bytes) -> None:
        try:
            message = framing.parse(line)
        except Malformed:
            return  # never anything but protocol on stdout
        answered: Request | None = None
        if (message_id := _id_of(message)) is not None:
            if "method" in message:
                self._asked.add(message_id)
            else:
                answered = self._owed.get(message_id)
                if answered is None and message_id in self._repeated:
                    self._repeated.discard(message_id)
                    return
        self._write(line)
        # Only now is it no longer owed: the main thread leaves when nothing is.
        if answered is not None and self._owed.get(answered.id) is answered:
            del self._owed[answered.id]
            if answered is self._hello and "error" in message:
                self._hello = None  # a handshake that failed is not to be repeated
        if self._hung_up and not self._owed:
            self._settled.set()

    def _detach(self, worker: rendezvous.Worker) -> None:
        """The worker went away: what it still owed is kept for the next one or answered here."""
        answers: list[bytes] = []
        with self._lock:
            self._worker = None
            worker.socket.close()
            for request in list(self._owed.values()):
                request.losses += 1
                if request.sent and self._hung_up:
                    del self._owed[request.id]  # handed over, and nobody waits for the answer
                elif not request.repeatable or request.losses >= MAX_LOSSES:
                    del self._owed[request.id]
                    answers.append(request.loss())
            answers += [_withdrawal(question) for question in self._asked]
            self._orphaned |= self._asked
            self._asked.clear()
        for answer in answers:
            self._write(answer)

    def _refuse_all(self, why: str) -> None:
        with self._lock:
            refused = list(self._owed.values())
            self._owed.clear()
            if self._hello in refused:
                self._hello = None
        for request in refused:
            self._write(request.refusal(why))

    def _write(self, line: bytes) -> None:
        rest = memoryview(line + b"\n")
        with self._writing:
            try:
                while rest:
                    rest = rest[os.write(self._sink, rest) :]
            except OSError as error:
                raise ClientGone from error


def _lines_of(worker: rendezvous.Worker) -> Iterator[bytes]:
    lines = LineSplitter(MAX_ANSWER_BYTES)
    chunk = worker.early or worker.socket.recv(CHUNK_BYTES)
    while chunk:
        for line in lines.feed(chunk):
            if isinstance(line, Oversized):
                return
            yield line
        chunk = worker.socket.recv(CHUNK_BYTES)
    # A half line is an answer that was cut off, and as good as none.


def _id_of(message: dict[str, Any], name: str = "id") -> Id | None:
    found = message.get(name)
    return found if isinstance(found, str | int | float) else None


def _answers(line: bytes, request_id: Id) -> bool:
    try:
        message = framing.parse(line)
    except Malformed:
        return False
    return "method" not in message and message.get("id") == request_id


def _uri_of(message: dict[str, Any]) -> str | None:
    params = message.get("params")
    uri = params.get("uri") if isinstance(params, dict) else None
    return uri if isinstance(uri, str) else None


def _withdrawal(question: Id) -> bytes:
    """Tells the client that the worker who asked this is gone."""
    return _notice(
        "cancelled", {"requestId": question, "reason": "the worker that asked went away"}
    )


def _notice(name: str, params: dict[str, object]) -> bytes:
    return framing.compact({"jsonrpc": "2.0", "method": f"notifications/{name}", "params": params})


def _half_close(socket: Socket) -> None:
    _shut(socket, SHUT_WR)


def _shut(socket: Socket, how: int = SHUT_RDWR) -> None:
    try:  # noqa: SIM105  contextlib would be one more import for every pipe
        socket.shutdown(how)
    except OSError:  # it is gone already
        pass


def _make_blocking(fd: int) -> None:
    """Some clients hand over the non-blocking end that their own event loop uses."""
    if sys.platform != "win32":
        try:  # noqa: SIM105  contextlib would be one more import for every pipe
            os.set_blocking(fd, True)
        except OSError:  # not open; reading or writing will tell
            pass
