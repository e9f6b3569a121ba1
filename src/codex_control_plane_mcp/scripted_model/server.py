"""The server: plays scripts to Codex over HTTP on loopback, and tells tests what it saw.

It runs in a thread with an event loop of its own, so one implementation serves tests that are
asyncio, tests that block, and benchmarks whose own loop is busy. It keeps no conversation: what to
play follows from the request alone (see `wire.read_request`). What it does keep is the record of
requests, and the holds that tests release.

    POST /v1/responses         Codex                GET  /requests       the record, as JSON
    POST /v1/messages          Claude Code
    POST /v1/chat/completions  other agents         POST /release/NAME   open a hold
    GET  /v1/models            whoever asks
    GET  /idle                 answers when no request is being played
    GET  /arrived/NAME         answers when the hold was reached (`?times=2`: twice)
"""

import asyncio
import contextlib
import dataclasses
import json
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from concurrent.futures import Future, InvalidStateError
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import anyio
import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from codex_control_plane_mcp.scripted_model.chat_completions import CHAT_COMPLETIONS, MODEL_LISTING
from codex_control_plane_mcp.scripted_model.messages import MESSAGES
from codex_control_plane_mcp.scripted_model.recall import recalled
from codex_control_plane_mcp.scripted_model.script import (
    Ending,
    FailStatus,
    Hang,
    Hold,
    Playbook,
    ScriptError,
    Step,
    Wait,
    playbook,
)
from codex_control_plane_mcp.scripted_model.wire import (
    RESPONSES,
    Beat,
    Dialect,
    Event,
    ModelRequest,
    error_body,
)

Outcome = Literal["playing", "played", "failed", "client gone"]

#: A test that waits this long waits for something that will not come.
PATIENCE_SECONDS = 10.0
#: Stopping takes a tenth of a second; a busy machine may need more.
_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that reached the model."""

    number: int
    received_at: datetime
    user_message: str
    #: Which act of the script it asked for: how many tool results had come back before.
    step: int
    #: Those results, for example the output of a `run` or the answers to an `ask`.
    tool_outputs: tuple[str, ...]
    tools: tuple[str, ...]
    #: What each of them takes of the request: bytes of JSON.
    tool_bytes: Mapping[str, int]
    thread_id: str | None
    turn_id: str | None
    #: The pictures of the prompt: their kinds (`image/png`) where they came along, else addresses.
    images: tuple[str, ...]
    #: The schema that the final answer must have.
    output_schema: Mapping[str, object] | None
    outcome: Outcome = "playing"

    def as_json(self) -> dict[str, object]:
        return {**dataclasses.asdict(self), "received_at": self.received_at.isoformat()}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that will happen at the model: `await` it on asyncio, or `wait` for it."""

    _future: Future[None]

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.wrap_future(self._future).__await__()

    def wait(self, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Block until it happened; TimeoutError when it did not."""
        self._future.result(timeout_seconds)


class ScriptedModel:
    """A running scripted model, as tests see it. Every method may be called from any thread."""

    def __init__(self, base_url: str, stage: "_Stage") -> None:
        #: The server's root, `http://127.0.0.1:PORT`; Codex's own base URL is this and `/v1`.
        self.base_url = base_url
        self._stage = stage

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """Every request so far, oldest first."""
        return self._stage.recorded()

    def release(self, name: str) -> None:
        """Open the hold NAME, for those who wait there and for those still to come."""
        self._stage.release(name)

    def arrived(self, name: str, times: int = 1) -> Moment:
        """`hold NAME` has been reached so many times; `hang` arrives at the name "hang"."""
        return self._stage.when(lambda stage: stage.arrivals[name] >= times)

    def requested(self, text: str, times: int = 1) -> Moment:
        """So many requests have come whose user message contains the text."""
        return self._stage.when(
            lambda stage: sum(text in request.user_message for request in stage.requests) >= times
        )

    def idle(self) -> Moment:
        """No request is being played: all are answered, or their clients have gone."""
        return self._stage.when(lambda stage: not stage.playing)


@contextmanager
def serving_in_thread(script: Playbook | str = "", *, port: int = 0) -> Iterator[ScriptedModel]:
    """Serve for the length of a `with`; `script` is a playbook, or the text of one."""
    stage = _Stage(playbook(script) if isinstance(script, str) else script)
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                _app(stage),
                lifespan="off",
                http="h11",
                ws="none",
                log_config=None,
                log_level="error",
                access_log=False,
            )
        )
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), name="scripted-model"
        )
        thread.start()
        try:
            # The listener already queues connections: whoever comes now is served when it runs.
            yield ScriptedModel(f"http://127.0.0.1:{listener.getsockname()[1]}", stage)
        finally:
            stage.close()
            server.should_exit = True
            thread.join(_STOP_SECONDS)


@asynccontextmanager
async def serving(script: Playbook | str = "", *, port: int = 0) -> AsyncIterator[ScriptedModel]:
    """The same for `async with`: only the stopping takes time, and it does not block the loop."""
    stack = contextlib.ExitStack()
    model = stack.enter_context(serving_in_thread(script, port=port))
    try:
        yield model
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(stack.close)


class _Stage:
    """What the thread of the server and the threads of the tests share, under one lock."""

    def __init__(self, book: Playbook) -> None:
        self.book = book
        self.requests: list[RecordedRequest] = []
        self.arrivals: Counter[str] = Counter()
        self.playing: dict[int, Callable[[], None]] = {}
        self._holds: defaultdict[str, Future[None]] = defaultdict(Future)
        self._waiting: list[tuple[Callable[[_Stage], bool], Future[None]]] = []
        self._closed = False
        self._lock = threading.RLock()

    def recorded(self) -> tuple[RecordedRequest, ...]:
        with self._lock:
            return tuple(self.requests)

    def when(self, happened: "Callable[[_Stage], bool]") -> Moment:
        future: Future[None] = Future()
        with self._lock:
            self._waiting.append((happened, future))
            if self._closed:
                self._disappoint()
        self._tell()
        return Moment(future)

    def enter(self, request: ModelRequest, stop: Callable[[], None]) -> int:
        with self._lock:
            number = len(self.requests)
            self.requests.append(
                RecordedRequest(
                    number=number,
                    received_at=datetime.now(UTC),
                    user_message=request.user_message,
                    step=request.position,
                    tool_outputs=request.tool_outputs,
                    tools=request.tools,
                    tool_bytes=request.tool_bytes,
                    thread_id=request.thread_id,
                    turn_id=request.turn_id,
                    images=request.images,
                    output_schema=request.output_schema,
                )
            )
            self.playing[number] = stop
            if self._closed:
                stop()
        self._tell()
        return number

    def leave(self, number: int, outcome: Outcome) -> None:
        with self._lock:
            self.requests[number] = dataclasses.replace(self.requests[number], outcome=outcome)
            del self.playing[number]
        self._tell()

    def arrive(self, name: str) -> Future[None]:
        with self._lock:
            self.arrivals[name] += 1
            hold = self._holds[name]
        self._tell()
        return hold

    def release(self, name: str) -> None:
        with self._lock:
            _settle(self._holds[name])

    def close(self) -> None:
        """Stop whatever is being played: a hold or a hang must not keep the server."""
        with self._lock:
            self._closed = True
            for stop in self.playing.values():
                stop()
            self._disappoint()

    def _disappoint(self) -> None:
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            with contextlib.suppress(InvalidStateError):
                future.set_exception(ConnectionAbortedError("the scripted model has stopped"))

    def _tell(self) -> None:
        with self._lock:
            due = [entry for entry in self._waiting if entry[0](self)]
            self._waiting = [entry for entry in self._waiting if entry not in due]
        for _, future in due:
            _settle(future)


def _settle(future: Future[None]) -> None:
    # Whoever waited may have given up (a timeout of a test): then nobody is to be told.
    with contextlib.suppress(InvalidStateError):
        future.set_result(None)


class _Performance(Response):
    """The answer to one request; it stops when it is over, or the client or the server goes."""

    def __init__(
        self, act: Iterable[Step], request: ModelRequest, dialect: Dialect, stage: _Stage
    ) -> None:
        """Raises ScriptError when the act cannot be said in the dialect."""
        self._act = tuple(act)
        self._beats = dialect.beats(self._act, request)
        self._request = request
        self._dialect = dialect
        self._stage = stage
        self._client_gone = False
        self._told = False
        super().__init__(media_type="text/event-stream" if request.streams else "application/json")
        # A stream has no length; leaving the header out makes it chunked.
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scene:

            def stop() -> None:
                loop.call_soon_threadsafe(scene.cancel)

            number = self._stage.enter(self._request, stop)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch_client, receive, scene)
                await self._play(send)
                tasks.cancel_scope.cancel()
        if not self._told and not self._client_gone:
            # The server is stopping: end the stream early instead of leaving it open.
            await send({"type": "http.response.body", "body": b""})
        self._stage.leave(number, self._outcome())

    async def _watch_client(self, receive: Receive, scene: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._client_gone = True
        scene.cancel()

    async def _play(self, send: Send) -> None:
        match self._act:
            case (*before, FailStatus(status, code, message)):
                for step in before:
                    if isinstance(step, Wait | Hold):
                        await self._pass(step)
                await _send_json(send, status, error_body(code, message))
                self._told = True
            case _:
                headers = self.raw_headers
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                for beat in self._beats:
                    await self._beat(send, beat)
                self._told = True
                await send({"type": "http.response.body", "body": b""})

    async def _beat(self, send: Send, beat: Beat) -> None:
        if isinstance(beat, Wait | Hold | Hang):
            await self._pass(beat)
        else:
            written = (
                self._dialect.sse(beat) if self._request.streams else json.dumps(beat).encode()
            )
            await send({"type": "http.response.body", "body": written, "more_body": True})
            # Codex hangs up as soon as it has the last event, before the stream itself ends.
            self._told = self._dialect.is_last(beat)
            # Sending to an empty buffer does not yield: let the other streams have their turn.
            await asyncio.sleep(0)

    async def _pass(self, moment: Wait | Hold | Hang) -> None:
        match moment:
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Hold(name):
                # Shielded: a client that leaves must not cancel the hold of the others.
                await asyncio.shield(asyncio.wrap_future(self._stage.arrive(name)))
            case Hang():
                self._stage.arrive("hang")
                await asyncio.Event().wait()

    def _outcome(self) -> Outcome:
        if not self._told:
            return "client gone" if self._client_gone else "failed"
        failing = isinstance(self._act[-1] if self._act else None, Ending)
        return "failed" if failing else "played"


async def _send_json(send: Send, status: int, content: Event) -> None:
    response = JSONResponse(content, status)
    headers = response.raw_headers
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _answer_at(moment: Moment) -> Response:
    try:
        await moment
    except ConnectionAbortedError as error:
        return JSONResponse(error_body("stopped", str(error)), 503)
    return JSONResponse({"happened": True})


def _app(stage: _Stage) -> Starlette:
    model = ScriptedModel("", stage)

    def answering(dialect: Dialect) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            try:
                asked = dialect.read(await request.body())
            except ValueError as error:
                return JSONResponse(error_body("invalid_request", str(error)), 400)
            try:
                act = stage.book.script_for(asked.user_message).act(asked.position)
                return _Performance(
                    recalled(act, (*asked.earlier_outputs, *asked.tool_outputs)),
                    asked,
                    dialect,
                    stage,
                )
            except ScriptError as error:
                refusal = FailStatus(400, "script_error", str(error))
                return _Performance((refusal,), asked, dialect, stage)

        return respond

    async def models(_: Request) -> Response:
        return JSONResponse({**MODEL_LISTING, "models": []})

    async def requests(_: Request) -> Response:
        return JSONResponse([request.as_json() for request in model.requests])

    async def release(request: Request) -> Response:
        model.release(request.path_params["name"])
        return JSONResponse({"released": request.path_params["name"]})

    async def arrived(request: Request) -> Response:
        times = request.query_params.get("times", "1")
        if not times.isdecimal():
            return JSONResponse(error_body("invalid_request", "times is a number"), 400)
        name: str = request.path_params["name"]
        return await _answer_at(model.arrived(name, int(times)))

    async def idle(_: Request) -> Response:
        return await _answer_at(model.idle())

    return Starlette(
        routes=[
            Route("/v1/responses", answering(RESPONSES), methods=["POST"]),
            Route("/v1/chat/completions", answering(CHAT_COMPLETIONS), methods=["POST"]),
            Route("/v1/messages", answering(MESSAGES), methods=["POST"]),
            Route("/v1/models", models),
            Route("/requests", requests),
            Route("/release/{name}", release, methods=["POST"]),
            Route("/arrived/{name}", arrived),
            Route("/idle", idle),
        ]
    )
