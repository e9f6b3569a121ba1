"""One connection to one app-server: the handshake, every call with its types, and the inboxes.

Errors come out as `codex.errors`; JSON comes out as `codex.words`. A session does not reconnect and
does not decide: when the line drops, it is over, and whoever supervises makes another.
"""

import logging
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import anyio

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.codex.errors import (
    AppServerGone,
    CodexError,
    OddAnswer,
    ShuttingDown,
)
from codex_control_plane_mcp.codex.inbox import Inbox, Inboxes
from codex_control_plane_mcp.codex.refusals import translated
from codex_control_plane_mcp.codex.words import entries, things, verbs
from codex_control_plane_mcp.codex.words.answers import Payload
from codex_control_plane_mcp.codex.words.events import Event, RequestId, ThreadStarted, read_event
from codex_control_plane_mcp.codex.words.questions import (
    NotOurs,
    ServerRequest,
    read_server_request,
)
from codex_control_plane_mcp.codex.words.reading import Odd, needed, text, texts
from codex_control_plane_mcp.model.ids import AppServerId, ThreadId, TurnId
from codex_control_plane_mcp.model.transcript import Entry
from codex_control_plane_mcp.processes import Identity, identity_of
from codex_control_plane_mcp.rpc.beside import beside
from codex_control_plane_mcp.rpc.errors import RpcError
from codex_control_plane_mcp.rpc.peer import METHOD_NOT_FOUND, Peer
from codex_control_plane_mcp.rpc.values import Json, JsonObject
from codex_control_plane_mcp.rpc.wire import Wire

logger = logging.getLogger(__name__)
T = TypeVar("T")

CLIENT_NAME = "codex-control-plane-mcp"
CLIENT_TITLE = "Codex control plane"
#: Calls are answered in milliseconds; a machine under load or a cold disk needs seconds.
CALL_SECONDS = 30.0
#: Codex answers within 20 ms, and never when the turn named has just been interrupted.
INTERRUPT_SECONDS = 5.0
#: A process that just began to listen answers within 75 ms; see above for the rest.
HANDSHAKE_SECONDS = 10.0
#: Refusals that wait to be sent. More than that at once would be a flood.
WAITING_REFUSALS = 1000

OnUnclaimed = Callable[[Event | ServerRequest], None]


def app_server_id(process: Identity) -> AppServerId:
    """Unique for each process, also after its pid was given to another."""
    return AppServerId(f"{process.pid}@{process.started_at}")


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What is known about the other end before a word is spoken."""

    transport: Literal["unix", "ws", "stdio", "memory"]
    #: Path or URL; `None` on stdio.
    address: str | None
    #: Whether we started it. Only then may we end it.
    owned: bool
    #: `None`: not known yet; then it is asked.
    process: Identity | None = None
    #: Whether another app-server has taken its place for new work. A cheap look, made often.
    is_superseded: Callable[[], bool] = _never


@dataclass(frozen=True, slots=True)
class AppServerIdentity:
    """Which app-server process is at the other end."""

    #: See `app_server_id`. When the process cannot be told it is new for each connection: what
    #: one says then proves nothing about another.
    id: AppServerId
    process: Identity | None
    version: str | None
    transport: Literal["unix", "ws", "stdio", "memory"]
    address: str | None
    owned: bool


def ignore_unclaimed(said: Event | ServerRequest) -> None:
    """Nobody wants to hear what belongs to no thread."""


@asynccontextmanager
async def open_session(
    wire: Wire,
    whereabouts: Whereabouts,
    on_unclaimed: OnUnclaimed = ignore_unclaimed,
    *,
    chance: Callable[[], float] = random.random,
) -> AsyncIterator["CodexSession"]:
    """Shake hands over `wire` and keep the connection for as long as this lasts.

    `on_unclaimed` hears what belongs to no thread, e.g. `WarningRaised`; it must not take long.
    `chance` spreads repeated calls in time (see `Peer`).
    """
    session = CodexSession(Peer(wire, chance=chance), whereabouts, on_unclaimed)
    async with session.running():
        yield session


class CodexSession:
    """An open connection. Every call raises `CodexError`; its kind says what may have happened.

    `timeout_seconds` ends the waiting for an answer, never what Codex does.
    """

    #: Known once `open_session` has shaken hands.
    app_server: AppServerIdentity
    handshake: things.Handshake

    def __init__(self, peer: Peer, whereabouts: Whereabouts, on_unclaimed: OnUnclaimed) -> None:
        self._peer = peer
        self._whereabouts = whereabouts
        self._on_unclaimed = on_unclaimed
        self._inboxes = Inboxes()
        self._to_refuse, self._refusals = anyio.create_memory_object_stream[NotOurs](
            WAITING_REFUSALS
        )
        #: Set once the line is cut.
        self.lost = anyio.Event()
        #: Whether it has refused something because it ends after its turns.
        self.is_draining = False

    # Lifetime

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        listeners = (self._notified, self._asked, self._closed)
        with self._to_refuse, self._refusals:
            async with self._peer.running(*listeners), beside(self._refuse_what_is_not_ours):
                await self._shake_hands()
                yield

    async def _shake_hands(self) -> None:
        verb = verbs.Initialize(CLIENT_NAME, CLIENT_TITLE, __version__, verbs.UNWANTED)
        self.handshake = await self._object(verb, things.read_handshake, HANDSHAKE_SECONDS)
        await self._translating(self._peer.notify, verbs.INITIALIZED)
        self.app_server = await self._identified()

    async def _identified(self) -> AppServerIdentity:
        known = self._whereabouts
        process = known.process or await self._process_at_the_other_end()
        return AppServerIdentity(
            id=app_server_id(process) if process else AppServerId(f"unknown:{uuid.uuid4()}"),
            process=process,
            version=self.handshake.version,
            transport=known.transport,
            address=known.address,
            owned=known.owned,
        )

    async def _process_at_the_other_end(self) -> Identity | None:
        try:
            pid = (await self.diagnostics()).pid
        except AppServerGone:
            raise
        except CodexError:
            return None
        return None if pid is None else identity_of(pid)

    @property
    def is_lost(self) -> bool:
        return self.lost.is_set()

    @property
    def takes_new_work(self) -> bool:
        """Whether a new task may begin here. Turns that run here go on in any case."""
        return not (self.is_lost or self.is_draining or self._whereabouts.is_superseded())

    # What comes in: plain functions, called in wire order

    def _notified(self, method: str, params: Json) -> None:
        event = read_event(method, params)
        if isinstance(event, ThreadStarted):
            # A sub-agent's thread concerns its parent; nobody opens an inbox for the child.
            self._deliver(event.thread.parent_thread_id or event.thread_id, event)
        else:
            self._deliver(event.thread_id, event)

    def _asked(self, request_id: RequestId, method: str, params: Json) -> None:
        request = read_server_request(request_id, method, params)
        if isinstance(request, NotOurs):
            try:
                self._to_refuse.send_nowait(request)
            except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
                logger.warning("could not refuse %s", method)
        else:
            self._deliver(request.thread_id, request)

    def _deliver(self, thread_id: ThreadId | None, said: Event | ServerRequest) -> None:
        if thread_id is None:
            self._on_unclaimed(said)
        else:
            self._inboxes.deliver(thread_id, said)

    def _closed(self, reason: str) -> None:
        self._inboxes.lose(reason)
        self.lost.set()

    async def _refuse_what_is_not_ours(self) -> None:
        async for request in self._refusals:
            logger.info("refused %s: not ours to answer", request.method)
            try:
                await self.refuse(request.request_id, f"{request.method} is not supported here")
            except AppServerGone:
                return

    # Listening and answering

    @contextmanager
    def inbox(self, thread_id: ThreadId) -> Iterator[Inbox]:
        """What is said about a thread. Open it before the call that makes the thread speak."""
        with self._inboxes.open(thread_id) as inbox:
            yield inbox

    async def answer(self, request_id: RequestId, payload: Payload) -> None:
        """Answer a server request; `words.answers` makes payloads. The first answer wins."""
        await self._translating(self._peer.respond, request_id, payload)

    async def refuse(self, request_id: RequestId, reason: str) -> None:
        """Answer a server request with an error."""
        await self._translating(self._peer.respond_error, request_id, METHOD_NOT_FOUND, reason)

    # Threads

    async def start_thread(
        self, verb: verbs.StartThread, *, timeout_seconds: float = CALL_SECONDS
    ) -> things.ThreadInForce:
        return await self._object(verb, things.read_thread_in_force, timeout_seconds)

    async def resume_thread(
        self, verb: verbs.ResumeThread, *, timeout_seconds: float = CALL_SECONDS
    ) -> things.ThreadInForce:
        """Load and subscribe; what waits for an answer is asked again, into the thread's inbox."""
        return await self._object(verb, things.read_thread_in_force, timeout_seconds)

    async def fork_thread(
        self, verb: verbs.ForkThread, *, timeout_seconds: float = CALL_SECONDS
    ) -> things.ThreadInForce:
        return await self._object(verb, things.read_thread_in_force, timeout_seconds)

    async def read_thread(
        self, thread_id: ThreadId, *, include_turns: bool = False
    ) -> things.Thread:
        return await self._object(verbs.ReadThread(thread_id, include_turns), _thread)

    async def list_threads(self, verb: verbs.ListThreads) -> things.Page[things.Thread]:
        return await self._page(verb, things.read_thread)

    async def search_threads(self, verb: verbs.SearchThreads) -> things.Page[things.FoundThread]:
        return await self._page(verb, things.read_found_thread)

    async def list_loaded_threads(self) -> tuple[ThreadId, ...]:
        """Threads in the app-server's memory: the first page, which is long enough to look at."""
        return await self._object(verbs.ListLoadedThreads(), _thread_ids)

    async def list_turns(self, verb: verbs.ListTurns) -> things.Page[things.Turn]:
        return await self._page(verb, things.read_turn)

    async def list_entries(self, verb: verbs.ListItems) -> things.Page[Entry]:
        """The items of a thread, as people read them."""
        return await self._page_both_ways(verb, entries.read_entry)

    async def list_turn_entries(self, verb: verbs.ListTurns) -> things.Page[tuple[Entry, ...]]:
        """The same by turns: for threads and versions of Codex that do not list items."""
        return await self._page_both_ways(verb, entries.read_turn_entries)

    async def archive_thread(self, thread_id: ThreadId) -> None:
        await self._call(verbs.ArchiveThread(thread_id))

    async def unarchive_thread(self, thread_id: ThreadId) -> things.Thread:
        return await self._object(verbs.UnarchiveThread(thread_id), _thread)

    async def unsubscribe_thread(self, thread_id: ThreadId) -> None:
        await self._call(verbs.UnsubscribeThread(thread_id))

    async def name_thread(self, thread_id: ThreadId, name: str) -> None:
        await self._call(verbs.NameThread(thread_id, name))

    async def compact_thread(self, thread_id: ThreadId) -> None:
        """Begins a turn; its `TurnStarted` comes to the inbox."""
        await self._call(verbs.CompactThread(thread_id))

    async def set_goal(self, verb: verbs.SetGoal) -> things.Goal:
        """Codex then goes on by itself, and spends tokens, until it is met, cleared or used up."""
        return await self._object(verb, _goal)

    async def get_goal(self, thread_id: ThreadId) -> things.Goal | None:
        return await self._object(verbs.GetGoal(thread_id), _maybe_goal)

    async def clear_goal(self, thread_id: ThreadId) -> None:
        await self._call(verbs.ClearGoal(thread_id))

    # Turns

    async def start_turn(
        self, verb: verbs.StartTurn, *, timeout_seconds: float = CALL_SECONDS
    ) -> things.Turn:
        """Ask the model. After `AppServerGone(maybe_sent)`, `CallTimedOut` or `OddAnswer` look for
        evidence before asking again: it may run."""
        return await self._object(verb, _turn, timeout_seconds)

    async def steer_turn(
        self, verb: verbs.SteerTurn, *, timeout_seconds: float = CALL_SECONDS
    ) -> TurnId:
        return await self._object(verb, _turn_id, timeout_seconds)

    async def interrupt_turn(
        self, thread_id: ThreadId, turn_id: TurnId, *, timeout_seconds: float = INTERRUPT_SECONDS
    ) -> None:
        """The turn ends soon after with `TurnCompleted`, status `interrupted`.

        `CallTimedOut` mostly means that the turn was over already: see what the inbox says.
        """
        await self._call(verbs.InterruptTurn(thread_id, turn_id), timeout_seconds)

    async def start_review(
        self, verb: verbs.StartReview, *, timeout_seconds: float = CALL_SECONDS
    ) -> things.ReviewStarted:
        return await self._object(verb, things.read_review_started, timeout_seconds)

    # What there is

    async def list_projects(
        self, verb: verbs.ListProjects | None = None
    ) -> things.Page[things.Project]:
        return await self._page(verb or verbs.ListProjects(), things.read_project)

    async def list_models(self, verb: verbs.ListModels | None = None) -> things.Page[things.Model]:
        return await self._page(verb or verbs.ListModels(), things.read_model)

    async def list_hooks(self, cwds: tuple[str, ...] = ()) -> tuple[things.Hook, ...]:
        return await self._object(verbs.ListHooks(cwds), things.read_hooks)

    async def trust_hooks(self, hashes: dict[str, str]) -> None:
        """Let hooks run: `Hook.current_hash` by `Hook.key`. Only the user may decide this."""
        await self._call(verbs.TrustHooks(hashes))

    async def count_skills(self, cwds: tuple[str, ...] = ()) -> int:
        return await self._object(verbs.ListSkills(cwds), things.count_skills)

    async def list_permission_profiles(self) -> things.Page[things.PermissionProfile]:
        return await self._page(verbs.Survey.PERMISSION_PROFILES, things.read_permission_profile)

    async def provider_capabilities(self) -> things.ProviderCapabilities:
        return await self._object(
            verbs.Survey.PROVIDER_CAPABILITIES, things.read_provider_capabilities
        )

    async def requirements(self) -> things.Requirements:
        return await self._object(verbs.Survey.CONFIG_REQUIREMENTS, things.read_requirements)

    async def sandbox_readiness(self) -> str:
        """`ready`, `notConfigured` or `updateRequired`. Means something on Windows only."""
        return await self._object(verbs.Survey.WINDOWS_SANDBOX, lambda raw: text(raw, "status"))

    async def try_sandbox(self) -> things.Ended:
        """Run what does nothing as commands of a turn are run. Not on Windows."""
        return await self._object(verbs.TrySandbox(), things.read_ended)

    async def rate_limits(self) -> tuple[things.RateLimitWindow, ...]:
        """Needs a ChatGPT login."""
        return await self._object(verbs.Survey.RATE_LIMITS, things.read_rate_limits)

    async def diagnostics(self) -> things.Diagnostics:
        return await self._object(verbs.ReadDiagnostics(), things.read_diagnostics)

    async def account(self) -> things.Account:
        return await self._object(verbs.ReadAccount(), things.read_account)

    async def survey(
        self, verb: verbs.Survey, *, timeout_seconds: float = CALL_SECONDS
    ) -> JsonObject:
        """One of the calls that only say what this Codex offers, as it comes."""
        return await self._object(verb, things.as_object, timeout_seconds)

    # How calls are made

    async def _page(self, verb: verbs.Verb, read: Callable[[JsonObject], T]) -> things.Page[T]:
        return await self._object(verb, lambda raw: things.read_page(raw, read))

    async def _page_both_ways(
        self, verb: verbs.Verb, read: Callable[[JsonObject], T]
    ) -> things.Page[T]:
        return await self._object(verb, lambda raw: things.read_page_both_ways(raw, read))

    async def _object(
        self,
        verb: verbs.Verb,
        read: Callable[[JsonObject], T],
        timeout_seconds: float = CALL_SECONDS,
    ) -> T:
        answer = await self._call(verb, timeout_seconds)
        try:
            return read(things.as_object(answer))
        except Odd as error:
            raise OddAnswer(f"cannot read the answer to {verb.method}: {error}") from error

    async def _call(self, verb: verbs.Verb, timeout_seconds: float = CALL_SECONDS) -> Json:
        try:
            return await self._peer.request_when_ready(
                verb.method, verb.to_wire(), timeout_seconds=timeout_seconds
            )
        except RpcError as error:
            meaning = translated(error)
            self.is_draining |= isinstance(meaning, ShuttingDown)
            raise meaning from error

    async def _translating(self, send: Callable[..., Awaitable[None]], *args: object) -> None:
        try:
            await send(*args)
        except RpcError as error:
            raise translated(error) from error


def _thread(raw: JsonObject) -> things.Thread:
    return things.read_thread(needed(raw, "thread"))


def _thread_ids(raw: JsonObject) -> tuple[ThreadId, ...]:
    return tuple(ThreadId(one) for one in texts(raw, "data"))


def _turn(raw: JsonObject) -> things.Turn:
    return things.read_turn(needed(raw, "turn"))


def _turn_id(raw: JsonObject) -> TurnId:
    return TurnId(text(raw, "turnId"))


def _goal(raw: JsonObject) -> things.Goal:
    return things.read_goal(needed(raw, "goal"))


def _maybe_goal(raw: JsonObject) -> things.Goal | None:
    goal = raw.get("goal")
    return things.read_goal(goal) if isinstance(goal, dict) else None
