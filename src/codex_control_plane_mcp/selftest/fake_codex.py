"""A Codex whose every word is the test's: app-servers over one CODEX_HOME, on the real wire.

It keeps the habits of the real one that our code must live with (docs/codex-facts.md): turns go on
without clients, open requests are sent again to whoever resumes, the first answer wins,
`turn/start` on an active turn steers it, a thread without a turn is known to nobody, a second
app-server calls another's running turn `interrupted`. On top it misbehaves: see `Fault` and `View`.

Everything happens at once and in order, in the call that causes it. A test plays the model, step by
step (`turn.says(...)`), or lets prompts play themselves that hold a script of the scripted model.
"""

import json
import math
import random
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeAlias, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.codex.session import CodexSession, Whereabouts, open_session
from codex_control_plane_mcp.model.ids import AppServerId
from codex_control_plane_mcp.processes import Identity
from codex_control_plane_mcp.rpc.beside import beside
from codex_control_plane_mcp.rpc.wire import MemoryWire, Wire
from codex_control_plane_mcp.scripted_model import script

Json: TypeAlias = dict[str, Any]
T = TypeVar("T")

#: In place of a method: the how-manieth call of all.
ANY_METHOD = "*"
#: How long a test waits for what must come. It is virtual time.
PATIENCE_SECONDS = 24 * 3600


class Fault(Enum):
    """What goes wrong with one call."""

    #: It is carried out and never answered.
    LOSE_ANSWER = auto()
    #: It is carried out, and answered when the test calls `let_go`.
    HOLD_ANSWER = auto()
    #: The line drops before it is looked at.
    HANG_UP_BEFORE = auto()
    #: It is carried out; the line drops instead of the answer.
    HANG_UP_AFTER = auto()
    #: The line drops while it waits in the queue; it is carried out when the test calls `let_go`.
    TAKE_LATER = auto()
    #: The line stays; it is carried out and answered when the test calls `let_go`.
    TAKE_ITS_TIME = auto()
    #: The process dies before it is looked at.
    DIE_BEFORE = auto()
    #: It is carried out, and the process dies at once.
    DIE_AFTER = auto()
    OVERLOADED = auto()
    SHUTTING_DOWN = auto()
    #: An error without a meaning that anybody knows.
    REFUSE = auto()
    #: It is carried out, and answered in a shape that nobody knows.
    ODD_ANSWER = auto()


class View(Enum):
    """How a turn shows that was accepted a moment ago, to one look at its thread."""

    #: As if the thread had no turn.
    NO_ROLLOUT = auto()
    #: The thread is there, the turn is not in its list yet.
    NOT_LISTED = auto()
    #: `list_turns is not supported yet`.
    NOT_READY = auto()
    #: The turn is there, without its items.
    BARE = auto()


class Refusal(Exception):
    """An error answer."""

    def __init__(self, code: int, message: str, data: Json | None = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **({"data": data} if data else {})}


_REFUSALS = {
    Fault.OVERLOADED: Refusal(-32001, "Server overloaded; retry later."),
    Fault.SHUTTING_DOWN: Refusal(-32600, "shutting down", {"reason": "serverShuttingDown"}),
    Fault.REFUSE: Refusal(-32600, "the test refuses"),
}


@dataclass(eq=False)
class Ask:
    """Something that a turn asks people, until the first answer."""

    id: int
    method: str
    params: Json
    turn: "Turn"
    #: Every answer that came, in order; only the first one counts.
    answers: list[Json] = field(default_factory=list)
    #: The one that Codex goes by; none while it waits, and when it was settled elsewhere.
    taken: Json | None = None
    is_open: bool = True
    then: Callable[[Json], None] = lambda _: None

    async def answer(self) -> Json:
        """Wait for the answer that counts."""
        return await self.turn.codex.until(lambda: self.taken)

    def settle(self) -> None:
        """Somebody else answered, or nobody needs to."""
        self.turn.settle(self)


@dataclass(eq=False)
class Message:
    """What the agent is saying."""

    id: str
    turn: "Turn"
    text: str = ""

    def adds(self, *deltas: str) -> "Message":
        for delta in deltas:
            self.text += delta
            self.turn.tell("item/agentMessage/delta", itemId=self.id, delta=delta)
        return self

    def ends(self) -> None:
        self.turn.complete_item({"type": "agentMessage", "id": self.id, "text": self.text})


@dataclass(eq=False)
class Turn:
    """One run of the model; the test is the model."""

    id: str
    thread: "Thread"
    server: "AppServer"
    status: str = "inProgress"
    items: list[Json] = field(default_factory=list)
    error: Json | None = None
    #: How it shows to the next looks at its thread; in full afterwards.
    views: deque[View] = field(default_factory=deque)
    performance: Iterator["Ask | str"] | None = None
    _review: str = "Reviewer failed to output a response."
    #: A review runs in a child turn. Until it has ended, only that is listed.
    child_id: str | None = None

    @property
    def codex(self) -> "FakeCodex":
        return self.server.codex

    @property
    def prompts(self) -> list[Json]:
        """What the model was asked in this turn, steering included."""
        return [item for item in self.items if item["type"] == "userMessage"]

    # The model speaks

    def says(self, text: str) -> None:
        if self.child_id is None:
            self.speaks().adds(text).ends()
        else:
            self._review = text

    @property
    def is_compaction(self) -> bool:
        return any(item["type"] == "contextCompaction" for item in self.items)

    @property
    def active_id(self) -> str:
        """By which it can be steered and interrupted."""
        return self.child_id or self.id

    def speaks(self) -> Message:
        """Begin a message that streams."""
        message = Message(self.codex.new_id("msg"), self)
        self.tell("item/started", item={"type": "agentMessage", "id": message.id, "text": ""})
        return message

    def uses(self, tokens: int) -> None:
        total = {"totalTokens": tokens, "inputTokens": tokens - 1, "outputTokens": 1}
        usage = {"total": total, "last": total, "modelContextWindow": 1000}
        self.tell("thread/tokenUsage/updated", tokenUsage=usage)

    def shows_life(self) -> None:
        """A command prints something."""
        self.tell("item/commandExecution/outputDelta", itemId="call", delta=".")

    def said(self) -> str:
        """What a report of this turn must say."""
        return self._texts()[-1] if self._texts() else ""

    def said_in_all(self) -> str:
        return "".join(self._texts())

    def _texts(self) -> list[str]:
        return [item["text"] for item in self.items if item["type"] in ("agentMessage", "plan")]

    # The model asks

    def runs(self, command: str) -> None:
        """As it may."""
        item = self._begins(command)
        self.complete_item(item | {"status": "completed", "exitCode": 0})

    def _begins(self, command: str) -> Json:
        item: Json = {
            "type": "commandExecution",
            "id": self.codex.new_id("call"),
            "command": command,
            "cwd": self.thread.cwd,
            "status": "inProgress",
        }
        self.tell("item/started", item=item)
        return item

    def asks_to_run(self, command: str, reason: str = "it must be") -> Ask:
        self._flag("waitingOnApproval")
        item = self._begins(command)
        ask = self.ask(
            "item/commandExecution/requestApproval",
            itemId=item["id"],
            command=command,
            cwd=self.thread.cwd,
            reason=reason,
            availableDecisions=["accept", "acceptForSession", "cancel"],
        )
        ask.then = lambda answer: self._run(item, answer)
        return ask

    def asks(self, question: str, *options: str, secret: bool = False) -> Ask:
        self._flag("waitingOnUserInput")
        asked = {
            "id": "question-1",
            "header": "Question",
            "question": question,
            "isSecret": secret,
            "options": [{"label": label, "description": label} for label in options],
        }
        call = self.codex.new_id("call")
        return self.ask("item/tool/requestUserInput", itemId=call, questions=[asked])

    def ask(self, method: str, **params: object) -> Ask:
        ask = Ask(self.server.new_request_id(), method, {**self._names, **params}, self)
        self.server.asks[ask.id] = ask
        self.codex.asks[(self.server.id, ask.id)] = ask
        for connection in self._listeners():
            connection.ask(ask)
        return ask

    def take_answer(self, ask: Ask, answer: Json) -> None:
        ask.answers.append(answer)
        if ask.is_open:
            ask.taken = answer
            self.settle(ask)
            ask.then(answer)
            self._perform()
        self.codex.changed()

    def settle(self, ask: Ask) -> None:
        ask.is_open = False
        self.server.asks.pop(ask.id, None)
        self.server.tell(
            self.thread, "serverRequest/resolved", {"threadId": self.thread.id, "requestId": ask.id}
        )

    def _run(self, item: Json, answer: Json) -> None:
        match answer.get("decision"):
            case "cancel":
                self.is_interrupted()
            case "decline" | None:
                self.complete_item({**item, "status": "declined"})
            case _:
                done = {"status": "completed", "exitCode": 0, "durationMs": 5}
                self.complete_item({**item, **done})

    # The turn ends

    def completes(self, report: str | None = None, *, silently: bool = False) -> None:
        """`silently`: nobody is told that the turn ended, only that the thread is idle."""
        if report is not None:
            self.says(report)
        self._end("completed", silently=silently)

    def fails(self, code: str, message: str) -> None:
        self.error = {"message": message, "codexErrorInfo": code}
        self.tell("error", error=self.error, willRetry=False)
        self._end("failed")

    def is_interrupted(self) -> None:
        self._end("interrupted")

    def _end(self, status: str, *, silently: bool = False) -> None:
        if self.child_id is not None:
            self._review_ends()
        self.status = status
        if self.server.is_draining and not self.server.running:
            self.server.die()  # The real one hangs up before it says that the turn ended.
            return
        self._say_status({"type": "idle"})
        if not silently:
            said = [item for item in self.items if item["type"] == "agentMessage"]
            summary = said[-1:] if status == "completed" else []
            turn = {**self.to_wire(View.BARE), "items": summary, "itemsView": "summary"}
            self.server.tell(
                self.thread, "turn/completed", {"threadId": self.thread.id, "turn": turn}
            )
        for ask in self._open_asks():
            self.settle(ask)
        if status == "completed":
            self.server.spend(self.thread)
            self.server.pursue(self.thread)
        self.codex.changed()

    def _review_ends(self) -> None:
        exited = {"type": "exitedReviewMode", "id": self.codex.new_id("item")}
        self.complete_item({**exited, "review": self._review})
        message = {"type": "agentMessage", "id": self.codex.new_id("msg"), "text": self._review}
        self.complete_item(message)

    # How it is told

    def reviews(self, what: str, prompt: Json) -> None:
        """It is a review, and begins."""
        self.complete_item(
            {"type": "enteredReviewMode", "id": self.codex.new_id("item"), "review": what}
        )
        self._say_status({"type": "active", "activeFlags": []})
        begun = {**self.to_wire(View.BARE), "id": self.child_id, "rootTurnId": self.id}
        self.server.tell(self.thread, "turn/started", {"threadId": self.thread.id, "turn": begun})
        self.is_asked(prompt, None)

    def compacts(self) -> None:
        """It sums the thread up."""
        self._say_status({"type": "active", "activeFlags": []})
        started = {"threadId": self.thread.id, "turn": self.to_wire(View.BARE)}
        self.server.tell(self.thread, "turn/started", started)
        self.complete_item({"type": "contextCompaction", "id": self.codex.new_id("item")})
        self.completes()

    def listed(self, view: View | None = None, seen_by: "AppServer | None" = None) -> list[Json]:
        """How it shows in its thread, newest first."""
        whole = {**self.to_wire(view, seen_by), "rootTurnId": self.id}
        if self.child_id is None:
            return [whole]
        asked = [item for item in whole["items"] if item["type"] == "userMessage"]
        others = [item for item in whole["items"] if item["type"] != "userMessage"]
        running = self.status == "inProgress"
        status = whole["status"] if running else "interrupted"
        child = {**whole, "id": self.child_id, "status": status, "items": asked}
        # One whose process died never came to its end.
        is_cut_off = not any(item["type"] == "exitedReviewMode" for item in self.items)
        return [child] if running or is_cut_off else [{**whole, "items": others}, child]

    def begin(self, prompt: Json, client_id: str | None) -> None:
        self._say_status({"type": "active", "activeFlags": []})
        started = {"threadId": self.thread.id, "turn": self.to_wire(View.BARE)}
        self.server.tell(self.thread, "turn/started", started)
        self.is_asked(prompt, client_id)

    def goes_on(self, objective: str) -> None:
        """It pursues a goal, and begins: nobody asked, so that it has no message."""
        self._say_status({"type": "active", "activeFlags": []})
        started = {"threadId": self.thread.id, "turn": self.to_wire(View.BARE)}
        self.server.tell(self.thread, "turn/started", started)
        self.codex.at_once(self)
        self.play(objective)

    def is_asked(self, prompt: Json, client_id: str | None) -> None:
        """A prompt reaches the model: the first, or one that steers."""
        item = {"type": "userMessage", "id": self.codex.new_id("item"), "clientId": client_id}
        self.complete_item({**item, "content": [prompt]})

    def complete_item(self, item: Json) -> None:
        self.items.append(item)
        self.tell("item/completed", item=item)

    def tell(self, method: str, **params: object) -> None:
        self.server.tell(self.thread, method, {**self._names, **params})

    def to_wire(self, view: View | None = None, seen_by: "AppServer | None" = None) -> Json:
        strange = seen_by is not None and seen_by is not self.server
        status = "interrupted" if strange and self.status == "inProgress" else self.status
        items = [] if view is View.BARE else self.items
        shown = "notLoaded" if view is View.BARE else "full"
        return {
            "id": self.id,
            "status": status,
            "items": items,
            "itemsView": shown,
            "error": self.error,
        }

    @property
    def _names(self) -> Json:
        return {"threadId": self.thread.id, "turnId": self.id}

    def _listeners(self) -> "list[Connection]":
        return [one for one in self.server.connections if self.thread.id in one.subscriptions]

    def _open_asks(self) -> list[Ask]:
        return [ask for ask in self.server.asks.values() if ask.turn is self]

    def _flag(self, flag: str) -> None:
        self._say_status({"type": "active", "activeFlags": [flag]})

    def _say_status(self, status: Json) -> None:
        about = {"threadId": self.thread.id, "status": status}
        self.server.tell(self.thread, "thread/status/changed", about)

    # Prompts that play themselves

    def play(self, prompt: str) -> None:
        found = script.find(prompt)
        if found is not None:
            self.performance = self._steps(found)
            self._perform()

    def _perform(self) -> None:
        """Go on until the script waits for somebody."""
        while self.performance is not None and self.status == "inProgress":
            waits_for = next(self.performance, None)
            if waits_for is None:
                self.performance = None
                if self.status == "inProgress":
                    self.completes()
            elif isinstance(waits_for, Ask) or not self.codex.is_released(waits_for, self._perform):
                return

    def _steps(self, played: script.Script) -> Iterator[Ask | str]:
        for step in played.steps:
            match step:
                case script.Say(text):
                    self.says(text)
                case script.Stream(words):
                    message = self.speaks()
                    for number in range(1, words + 1):
                        message.adds(f"word{number}" + " " * (number < words))
                    message.ends()
                case script.Run(command, None):
                    self.runs(command)
                case script.Run(command, str(because)):
                    yield self.asks_to_run(command, because)
                case script.Ask(questions):
                    labels = [option.label for option in questions[0].options]
                    yield self.asks(questions[0].text, *labels)
                case script.Hold(name):
                    yield name
                case script.Plan(markdown):
                    self.complete_item({"type": "plan", "id": f"{self.id}-plan", "text": markdown})
                case script.Call("update_goal", arguments) if self.thread.goal is not None:
                    self.thread.goal |= json.loads(arguments)
                case script.Hang():
                    yield "hang"
                case script.FailStatus(_, code, message_text):
                    self.fails(_CODES.get(code, "other"), message_text)
                case _:
                    raise NotImplementedError(f"the fake does not play {script.line(step)!r}")


#: What a goal's turn costs here.
TOKENS_A_TURN = 100
_GOAL = ("objective", "status", "tokenBudget")

#: What Codex makes of a provider's error code.
_CODES = {"usage_limit_reached": "usageLimitExceeded"}


@dataclass(eq=False)
class Thread:
    """A conversation. On disk once it has a turn."""

    id: str
    cwd: str
    sandbox: str
    approval_policy: str
    model: str
    name: str | None = None
    turns: list[Turn] = field(default_factory=list)
    forked_from: str | None = None
    is_archived: bool = False
    goal: Json | None = None
    #: Whether its file was left empty, by a process that was killed.
    is_unreadable: bool = False

    @property
    def active_turn(self) -> Turn | None:
        return next((turn for turn in self.turns if turn.status == "inProgress"), None)

    def to_wire(self) -> Json:
        active = self.active_turn is not None
        status: Json = {"type": "active", "activeFlags": []} if active else {"type": "idle"}
        return {
            "id": self.id,
            "cwd": self.cwd,
            "name": self.name,
            "status": status,
            "forkedFromId": self.forked_from,
        }

    def in_force(self) -> Json:
        return {
            "thread": self.to_wire(),
            "cwd": self.cwd,
            "model": self.model,
            "approvalPolicy": self.approval_policy,
            "sandbox": {"type": _SANDBOXES[self.sandbox]},
        }


_SANDBOXES = {
    "read-only": "readOnly",
    "workspace-write": "workspaceWrite",
    "danger-full-access": "dangerFullAccess",
}


class Connection:
    """One client, as the app-server sees it."""

    def __init__(
        self,
        server: "AppServer",
        outgoing: MemoryObjectSendStream[str],
        incoming: MemoryObjectReceiveStream[str],
    ) -> None:
        self._server = server
        self._codex = server.codex
        self._outgoing = outgoing
        self._incoming = incoming
        self.subscriptions: set[str] = set()

    async def serve(self) -> None:
        self._server.connections.append(self)
        try:
            async for text in self._incoming:
                self._take(json.loads(text))
        except anyio.ClosedResourceError:
            pass
        finally:
            self._take_what_is_left()
            self.hang_up()

    def _take_what_is_left(self) -> None:
        """A client that has gone is no reason not to do what it asked for."""
        while True:
            try:
                text = self._incoming.receive_nowait()
            except (anyio.WouldBlock, anyio.EndOfStream, anyio.ClosedResourceError):
                return
            self._take(json.loads(text))

    def hang_up(self) -> None:
        if self in self._server.connections:
            self._server.connections.remove(self)
        self._outgoing.close()
        self._incoming.close()

    def say(self, text: str) -> None:
        try:
            self._outgoing.send_nowait(text)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.hang_up()

    def tell(self, method: str, params: Json) -> None:
        self.say(json.dumps({"method": method, "params": params}))

    def ask(self, ask: Ask) -> None:
        self.say(json.dumps({"id": ask.id, "method": ask.method, "params": ask.params}))

    def _take(self, message: Json) -> None:
        match message:
            case {"id": request_id, "method": str(method)}:
                self._called(request_id, method, message.get("params") or {})
            case {"id": int(request_id), "result": dict(answer)}:
                self._answered(request_id, answer)
            case {"id": int(request_id), "error": error}:
                self._answered(request_id, {"error": error})
            case _:
                pass  # `initialized`

    def _answered(self, request_id: int, answer: Json) -> None:
        ask = self._codex.asks.get((self._server.id, request_id))
        if ask is not None and self._server.is_alive:
            ask.turn.take_answer(ask, answer)

    def _called(self, request_id: int, method: str, params: Json) -> None:
        if not self._server.is_alive:
            return
        fault = self._codex.fault_at(method)
        self._codex.calls.append((method, params))
        match fault:
            case Fault.HANG_UP_BEFORE:
                self.hang_up()
            case Fault.DIE_BEFORE:
                self._server.die()
            case Fault.TAKE_LATER:
                self._codex.held.append(lambda: self._carry_out(request_id, method, params, None))
                self.hang_up()
            case Fault.TAKE_ITS_TIME:
                self._codex.held.append(lambda: self._carry_out_late(request_id, method, params))
            case Fault.OVERLOADED | Fault.SHUTTING_DOWN | Fault.REFUSE:
                self._reply(request_id, error=_REFUSALS[fault].error)
            case _:
                self._carry_out(request_id, method, params, fault)
        self._codex.changed()

    def _carry_out_late(self, request_id: int, method: str, params: Json) -> None:
        if self._server.is_alive:
            self._carry_out(request_id, method, params, None)

    def _carry_out(self, request_id: int, method: str, params: Json, fault: Fault | None) -> None:
        try:
            result, then = self._server.carry_out(self, method, params)
        except Refusal as refusal:
            self._reply(request_id, error=refusal.error)
            return
        match fault:
            case None:
                self._reply(request_id, result=result)
            case Fault.ODD_ANSWER:
                self._reply(request_id, result={"odd": True})
            case Fault.HOLD_ANSWER:
                self._codex.held.append(lambda: self._reply(request_id, result=result))
            case Fault.HANG_UP_AFTER:
                self.hang_up()
            case _:
                pass
        then()
        if fault is Fault.DIE_AFTER:
            self._server.die()

    def _reply(self, request_id: int, **outcome: Json) -> None:
        self.say(json.dumps({"id": request_id, **outcome}))


class AppServer:
    """One process."""

    def __init__(self, codex: "FakeCodex", number: int) -> None:
        self.codex = codex
        self.identity = Identity(40_000 + number, f"start-{number}")
        self.id = AppServerId(f"{self.identity.pid}@{self.identity.started_at}")
        self.is_alive = True
        self.is_draining = False
        self.connections: list[Connection] = []
        self.asks: dict[int, Ask] = {}
        #: Threads in memory, also those that never had a turn.
        self._loaded: dict[str, Thread] = {}
        self._request_ids = 0

    def new_request_id(self) -> int:
        self._request_ids += 1
        return self._request_ids - 1

    @property
    def running(self) -> list[Turn]:
        turns = [turn for thread in self._loaded.values() for turn in thread.turns]
        return [turn for turn in turns if turn.server is self and turn.status == "inProgress"]

    def die(self) -> None:
        """What runs is interrupted, and who is connected hears nothing more."""
        self.is_alive = False
        for turn in self.running:
            turn.status = "interrupted"
        self.asks.clear()
        self.drop_connections()

    def drain(self) -> None:
        """Take nothing new, and end when all that runs has ended."""
        self.is_draining = True
        if not self.running:
            self.die()

    def drop_connections(self) -> None:
        for connection in list(self.connections):
            connection.hang_up()
        self.codex.changed()

    def tell(self, thread: Thread, method: str, params: Json) -> None:
        for connection in list(self.connections):
            if thread.id in connection.subscriptions:
                for _ in range(self.codex.repeats):
                    connection.tell(method, params)

    def carry_out(
        self, connection: Connection, method: str, params: Json
    ) -> tuple[Json, Callable[[], None]]:
        """The answer, and what happens right after it."""
        if self.is_draining and method in ("turn/start", "thread/start", "thread/resume"):
            raise _REFUSALS[Fault.SHUTTING_DOWN]
        match method:
            case "initialize":
                return {"userAgent": "codex-control-plane-mcp/0.0.0 (fake)"}, _nothing
            case "thread/start":
                return self._start_thread(connection, params)
            case "thread/resume":
                return self._resume_thread(connection, params["threadId"])
            case "thread/fork":
                return self._fork_thread(connection, params)
            case "thread/archive":
                return self._archive(params["threadId"]), _nothing
            case "thread/unarchive":
                return self._unarchive(params["threadId"]), _nothing
            case "thread/turns/list":
                return self._list_turns(params), _nothing
            case "thread/name/set":
                self._known(params["threadId"]).name = params["name"]
                return {}, _nothing
            case "thread/goal/get":
                return {"goal": self._stored(params["threadId"]).goal}, _nothing
            case "thread/goal/set":
                return self._set_goal(self._stored(params["threadId"]), params)
            case "thread/goal/clear":
                thread = self._stored(params["threadId"])
                cleared, thread.goal = thread.goal is not None, None
                return {"cleared": cleared}, _nothing
            case "turn/start":
                thread, (prompt, *_pictures) = self._known(params["threadId"]), params["input"]
                return self.start_turn(thread, prompt, params.get("clientUserMessageId"))
            case "review/start":
                return self._start_review(self._known(params["threadId"]), params["target"])
            case "thread/compact/start":
                turn = self._new_turn(self._known(params["threadId"]))
                return {}, turn.compacts
            case "turn/steer":
                return self._steer(params)
            case "turn/interrupt":
                return self._interrupt(params)
            case _:
                raise Refusal(-32601, f"unknown variant `{method}`")

    def _start_thread(
        self, connection: Connection, params: Json
    ) -> tuple[Json, Callable[[], None]]:
        thread = Thread(
            self.codex.new_id("thread"),
            params["cwd"],
            params["sandbox"],
            params["approvalPolicy"],
            params.get("model", "fake-model"),
        )
        self._loaded[thread.id] = thread
        connection.subscriptions.add(thread.id)
        started = {"thread": thread.to_wire()}
        return thread.in_force(), lambda: connection.tell("thread/started", started)

    def _resume_thread(
        self, connection: Connection, thread_id: str
    ) -> tuple[Json, Callable[[], None]]:
        thread = self.codex.disk.get(thread_id)
        view = _view_of_newest(thread, View.NO_ROLLOUT, View.NOT_READY)
        if thread is not None and thread.is_archived:
            raise Refusal(-32600, f"session {thread_id} is archived. Unarchive it first.")
        if thread is not None and thread.is_unreadable:
            raise Refusal(-32603, f"failed to read thread: rollout of {thread_id} is empty")
        if thread is None or view is View.NO_ROLLOUT:
            raise Refusal(-32600, f"no rollout found for thread id {thread_id}")
        if view is View.NOT_READY:
            raise Refusal(-32601, "list_turns is not supported yet")
        self._loaded[thread_id] = thread
        connection.subscriptions.add(thread_id)
        asks = [ask for ask in self.asks.values() if ask.turn.thread is thread]

        def ask_again() -> None:
            for ask in asks:
                connection.ask(ask)
            self.pursue(thread)

        return thread.in_force(), ask_again

    def _list_turns(self, params: Json) -> Json:
        thread = self._known(params["threadId"])
        view = _view_of_newest(thread, View.NO_ROLLOUT, View.NOT_LISTED, View.NOT_READY, View.BARE)
        if not thread.turns or view is View.NO_ROLLOUT:
            raise Refusal(
                -32600,
                f"thread {thread.id} is not materialized yet; thread/turns/list is unavailable"
                " before first user message",
            )
        if view is View.NOT_READY:
            raise Refusal(-32601, "list_turns is not supported yet")
        *former, newest = thread.turns
        bare = view is View.BARE or params.get("itemsView") == "notLoaded"
        shown = [one for turn in reversed(former) for one in turn.listed(seen_by=self)]
        if view is not View.NOT_LISTED:
            shown = newest.listed(View.BARE if bare else None, self) + shown
        return {"data": shown[: params.get("limit")], "nextCursor": None}

    def start_turn(
        self, thread: Thread, prompt: Json, client_id: str | None
    ) -> tuple[Json, Callable[[], None]]:
        """A turn begins; or one that runs already is steered."""
        running = next((one for one in thread.turns if one in self.running), None)
        if running is not None:
            return {"turn": running.to_wire(View.BARE)}, lambda: running.is_asked(prompt, client_id)
        turn = self._new_turn(thread)

        def begin() -> None:
            turn.begin(prompt, client_id)
            self.codex.at_once(turn)
            turn.play(prompt["text"])

        return {"turn": turn.to_wire(View.BARE)}, begin

    def _set_goal(self, thread: Thread, params: Json) -> tuple[Json, Callable[[], None]]:
        known = thread.goal or {"tokensUsed": 0, "timeUsedSeconds": 0, "tokenBudget": None}
        asked = {key: params[key] for key in _GOAL if params.get(key) is not None}
        thread.goal = {"threadId": thread.id, "status": "active", **known, **asked}
        return {"goal": dict(thread.goal)}, lambda: self.pursue(thread)

    def spend(self, thread: Thread) -> None:
        """A turn used up some of its goal's tokens."""
        goal = thread.goal
        if goal is not None and goal["status"] == "active":
            goal["tokensUsed"] += TOKENS_A_TURN
            if goal["tokenBudget"] is not None and goal["tokensUsed"] >= goal["tokenBudget"]:
                goal["status"] = "budgetLimited"

    def pursue(self, thread: Thread) -> None:
        """Nobody asks, and Codex goes on, where there is a goal: at the end of a turn, and when a
        thread is loaded."""
        goal = thread.goal
        if goal is None or goal["status"] != "active" or thread.active_turn is not None:
            return
        if self.is_alive and not self.is_draining:
            self._new_turn(thread).goes_on(goal["objective"])

    def _new_turn(self, thread: Thread) -> Turn:
        turn = Turn(self.codex.new_id("turn"), thread, self, views=deque(self.codex.views))
        thread.turns.append(turn)
        self.codex.disk[thread.id] = thread
        self.codex.turns.append(turn)
        return turn

    def _start_review(self, thread: Thread, target: Json) -> tuple[Json, Callable[[], None]]:
        turn = self._new_turn(thread)
        turn.child_id = self.codex.new_id("child")
        text = target.get("instructions") or f"Review: {json.dumps(target)}"

        def begin() -> None:
            turn.reviews(text, {"type": "text", "text": text})
            self.codex.at_once(turn)
            # Codex words the other targets itself, and then no script can be in it.
            turn.play(text if "instructions" in target else "say Reviewed.")

        answered = {**turn.to_wire(View.BARE), "rootTurnId": None}
        return {"turn": answered, "reviewThreadId": thread.id}, begin

    def _fork_thread(self, connection: Connection, params: Json) -> tuple[Json, Callable[[], None]]:
        source = self._stored(params["threadId"])
        thread = Thread(
            self.codex.new_id("thread"),
            params.get("cwd", source.cwd),
            params["sandbox"],
            params["approvalPolicy"],
            params.get("model", source.model),
            turns=[turn for turn in source.turns if turn.status != "inProgress"],
            forked_from=source.id,
        )
        self._loaded[thread.id] = self.codex.disk[thread.id] = thread
        connection.subscriptions.add(thread.id)
        return thread.in_force(), _nothing

    def _archive(self, thread_id: str) -> Json:
        thread = self._stored(thread_id)
        if thread.is_archived:
            raise Refusal(-32600, f"no rollout found for thread id {thread_id}")
        thread.is_archived = True
        self._loaded.pop(thread_id, None)
        return {}

    def _unarchive(self, thread_id: str) -> Json:
        thread = self._stored(thread_id)
        if not thread.is_archived:
            raise Refusal(-32600, f"no archived rollout found for thread id {thread_id}")
        thread.is_archived = False
        return {"thread": thread.to_wire()}

    def _stored(self, thread_id: str) -> Thread:
        if thread_id not in self.codex.disk:
            raise Refusal(-32600, f"no rollout found for thread id {thread_id}")
        return self.codex.disk[thread_id]

    def _steer(self, params: Json) -> tuple[Json, Callable[[], None]]:
        turn = self._active(params["threadId"], params["expectedTurnId"], "steer")
        (prompt, *_pictures), client_id = params["input"], params.get("clientUserMessageId")
        return {"turnId": turn.id}, lambda: turn.is_asked(prompt, client_id)

    def _interrupt(self, params: Json) -> tuple[Json, Callable[[], None]]:
        turn = self._active(params["threadId"], params["turnId"], "interrupt")
        return {}, turn.is_interrupted

    def _active(self, thread_id: str, turn_id: str, purpose: str) -> Turn:
        """The turn of this process that runs in the thread, if it is the one that is meant."""
        turn = self._known(thread_id).active_turn
        if turn is None or turn.server is not self:
            raise Refusal(-32600, f"no active turn to {purpose}")
        if turn.active_id != turn_id:
            found = turn.active_id
            raise Refusal(-32600, f"expected active turn id `{turn_id}` but found `{found}`")
        return turn

    def _known(self, thread_id: str) -> Thread:
        if thread_id not in self._loaded:
            raise Refusal(-32600, f"thread not found: {thread_id}")
        return self._loaded[thread_id]


class FakeCodex:
    """One CODEX_HOME, and the knobs."""

    def __init__(self) -> None:
        #: Threads that had a turn: they outlive every process.
        self.disk: dict[str, Thread] = {}
        #: Every turn that was accepted, by whichever process.
        self.turns: list[Turn] = []
        #: Every request to people, by process and request id.
        self.asks: dict[tuple[AppServerId, int], Ask] = {}
        #: Every call that came, in order.
        self.calls: list[tuple[str, Json]] = []
        #: What waits for `let_go`.
        self.held: deque[Callable[[], None]] = deque()
        #: How new turns show at first.
        self.views: tuple[View, ...] = ()
        #: How often each notification is sent.
        self.repeats = 1
        #: Done right after a turn has begun, before anybody can react to its acceptance.
        self.at_once: Callable[[Turn], object] = lambda _: None
        #: While set, nobody can connect.
        self.trouble: CodexError | OSError | None = None
        #: How often somebody tried to connect.
        self.dialled = 0
        #: Put around every new wire.
        self.wrap: Callable[[Wire], Wire] = lambda wire: wire
        self.server = AppServer(self, 1)
        self._servers = [self.server]
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._faults_at: dict[tuple[str, int], Fault] = {}
        #: The holds that scripts have reached.
        self.arrived: set[str] = set()
        self._released: set[str] = set()
        self._waiting: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)
        self._ids: defaultdict[str, int] = defaultdict(int)
        self._changed = anyio.Event()
        #: Chance is the same each time.
        self._dice = random.Random(0)  # noqa: S311

    # What the product is given

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[CodexSession]:
        """A session with the present process; a new one is started when it has died."""
        self.dialled += 1
        self.changed()
        if self.trouble is not None:
            raise self.trouble
        if not self.server.is_alive:
            self.start_another()
        server = self.server
        to_server, from_client = anyio.create_memory_object_stream[str](math.inf)
        to_client, from_server = anyio.create_memory_object_stream[str](math.inf)
        connection = Connection(server, to_client, from_client)
        wire = self.wrap(MemoryWire(to_server, from_server))
        whereabouts = Whereabouts("memory", None, owned=True, process=server.identity)
        with to_server, from_server:
            opening = open_session(wire, whereabouts, chance=self._dice.random)
            async with beside(connection.serve), opening as session:
                yield session

    def is_gone(self, app_server_id: AppServerId) -> bool:
        return any(one.id == app_server_id and not one.is_alive for one in self._servers)

    # Knobs

    def will(self, method: str, *faults: Fault) -> None:
        """What goes wrong with the next calls of this method."""
        self._faults[method].extend(faults)

    def will_at(self, method: str, number: int, fault: Fault) -> None:
        """What goes wrong with the how-manieth call of this method."""
        self._faults_at[(method, number)] = fault

    def let_go(self) -> None:
        """Do what was held back."""
        while self.held:
            self.held.popleft()()
        self.changed()

    def start_another(self) -> AppServer:
        """A further process, which those who connect from now on reach; the former lives on."""
        self.server = AppServer(self, len(self._servers) + 1)
        self._servers.append(self.server)
        return self.server

    def babble(self, *texts: str) -> None:
        """Say these things, whatever they are, to everybody."""
        for connection in list(self.server.connections):
            for text in texts:
                connection.say(text)

    def person_asks(self, thread: Thread, text: str) -> Turn:
        """Somebody starts a turn in Codex itself."""
        answer, begin = self.server.start_turn(thread, {"type": "text", "text": text}, None)
        begin()
        self.changed()
        return next(turn for turn in self.turns if turn.id == answer["turn"]["id"])

    def release(self, name: str) -> None:
        """Let scripts go on that `hold` here."""
        self._released.add(name)
        for go_on in self._waiting.pop(name, []):
            go_on()

    # What the test may wait for

    async def turn(self, number: int = 1) -> Turn:
        """The turn that was accepted as the how-manieth."""
        return await self.until(
            lambda: self.turns[number - 1] if len(self.turns) >= number else None
        )

    async def called(self, method: str, times: int = 1) -> Json:
        """Wait until this was asked so many times; its parameters."""

        def found() -> Json | None:
            params = [params for called, params in self.calls if called == method]
            return params[times - 1] if len(params) >= times else None

        return await self.until(found)

    async def until(self, look: Callable[[], T | None]) -> T:
        """Wait until there is something to see."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while (seen := look()) is None:
                await self._changed.wait()
        return seen

    def prompts_of(self, operation_id: str) -> list[Json]:
        """Everything that the model was asked for one operation."""
        prompts = [prompt for turn in self.turns for prompt in turn.prompts]
        return [one for one in prompts if str(one["clientId"]).partition(".")[0] == operation_id]

    # For the parts of the fake

    def changed(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def fault_at(self, method: str) -> Fault | None:
        """What goes wrong with the call that comes now."""
        number = 1 + sum(called == method for called, _ in self.calls)
        for place in ((method, number), (ANY_METHOD, 1 + len(self.calls))):
            if (fault := self._faults_at.get(place)) is not None:
                return fault
        return self._faults[method].popleft() if self._faults[method] else None

    def is_released(self, name: str, go_on: Callable[[], None]) -> bool:
        self.arrived.add(name)
        self.changed()
        if name in self._released:
            return True
        self._waiting[name].append(go_on)
        return False

    def new_id(self, kind: str) -> str:
        self._ids[kind] += 1
        return f"{kind}-{self._ids[kind]}"


def _view_of_newest(thread: Thread | None, *views: View) -> View | None:
    """How the newest turn shows this time, if it shows in one of these ways."""
    newest = thread.turns[-1] if thread and thread.turns else None
    if newest is None or not newest.views or newest.views[0] not in views:
        return None
    return newest.views.popleft()


def _nothing() -> None:
    """Nothing happens after the answer."""
