"""Change notices: of resources that a client subscribed to, and of the list of them.

Clients of 2026-07-28 open a stream for them (`subscriptions/listen`). Older ones subscribe to a
URI, and hear of the list once they have read it: who only calls tools is not disturbed. A notice
only says that something is to be read again, so what changes often is told once in a while.
"""

import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
from anyio.abc import TaskGroup
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent
from mcp.types import (
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from codex_control_plane_mcp.desk.changes import Changes
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.mcp.task_calls import expect_declared
from codex_control_plane_mcp.errors import ControlPlaneError
from codex_control_plane_mcp.model.ids import OperationId

logger = logging.getLogger(__name__)

#: What changes within this time is told in one go.
PAUSE_SECONDS = 1.0
#: Sessions over HTTP may end without a word: beyond so many, the oldest is told no more.
MAX_SESSIONS = 100

Context: TypeAlias = ServerRequestContext["Told"]


class Notices:
    """Serves the requests for notices, of any number of connections."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @asynccontextmanager
    async def lifespan(self, _server: Server["Told"]) -> AsyncIterator["Told"]:
        """The clients of one pipe, or of the HTTP door, for as long as it lasts."""
        async with anyio.create_task_group() as group:
            yield Told(self._desk, group)
            group.cancel_scope.cancel()

    async def listen(
        self, context: Context, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serve one stream; the SDK acknowledges, filters and stamps. Of tasks it tells nothing:
        they are polled, and what was acknowledged says so."""
        if (context.params or {}).get("notifications", {}).get("taskIds"):
            expect_declared(context)
        uris = params.notifications.resource_subscriptions or ()
        bus = InMemorySubscriptionBus()
        async with anyio.create_task_group() as group:
            await group.start(_tell, self._desk, lambda: uris, bus.publish)
            result = await ListenHandler(bus)(context, params)
            group.cancel_scope.cancel()
        return result

    async def subscribe(self, context: Context, params: SubscribeRequestParams) -> EmptyResult:
        (await _subscriber(context)).uris.add(str(params.uri))
        return EmptyResult()

    async def unsubscribe(self, context: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        (await _subscriber(context)).uris.discard(str(params.uri))
        return EmptyResult()

    async def list_was_read(self, context: Context) -> None:
        """The client shall hear when the list is another one."""
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            await _subscriber(context)


class _Subscriber:
    """An older client, and what it subscribed to."""

    def __init__(self, session: ServerSession) -> None:
        self.uris: set[str] = set()
        self.scope = anyio.CancelScope()
        self._session = session

    async def tell(self, event: ServerEvent) -> None:
        match event:
            case ResourceUpdated(uri=uri):
                await self._session.send_resource_updated(uri)
            case _:
                await self._session.send_resource_list_changed()


class Told:
    """The older clients of one pipe, or of the HTTP door."""

    def __init__(self, desk: Desk, group: TaskGroup) -> None:
        self._desk = desk
        self._group = group
        self._subscribers: dict[str, _Subscriber] = {}

    async def subscriber(self, session_id: str, session: ServerSession) -> _Subscriber:
        known = self._subscribers.get(session_id)
        if known is not None:
            return known
        while len(self._subscribers) >= MAX_SESSIONS:
            self._subscribers.pop(next(iter(self._subscribers))).scope.cancel()
        new = self._subscribers[session_id] = _Subscriber(session)
        await self._group.start(self._serve, new)
        return new

    async def _serve(
        self, subscriber: _Subscriber, *, task_status: anyio.abc.TaskStatus[None]
    ) -> None:
        with subscriber.scope:
            await _tell(
                self._desk, lambda: subscriber.uris, subscriber.tell, task_status=task_status
            )


async def _subscriber(context: Context) -> _Subscriber:
    session_id = "" if context.request is None else context.request.headers.get("mcp-session-id")
    return await context.lifespan_context.subscriber(session_id or "", context.session)


async def _tell(
    desk: Desk,
    uris: Callable[[], Collection[str]],
    tell: Callable[[ServerEvent], Any],
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    async with desk.changes() as changes:
        task_status.started()
        while True:
            changed = await changes.next()
            if changed.has_new:
                await tell(ResourcesListChanged())
            try:
                updated = await _changed(uris(), changed.operation_ids, changes)
            except ControlPlaneError as error:
                logger.warning("a change could not be told: %s", error.message)
                updated = []
            for uri in updated:
                await tell(ResourceUpdated(uri))
            await anyio.sleep(PAUSE_SECONDS)


async def _changed(
    uris: Collection[str], ids: Collection[OperationId], changes: Changes
) -> list[str]:
    """Those that are to be read again. A part of a resource is named by a query."""
    changed = {f"codex://operation/{id_}{part}" for id_ in ids for part in _PARTS}
    if any(uri.startswith(_THREAD) for uri in uris):
        changed |= {f"{_THREAD}{thread_id}" for thread_id in await changes.threads_of(ids)}
    return sorted(uri for uri in uris if uri.partition("?")[0] in changed)


_PARTS = ("", "/report", "/events")
_THREAD = "codex://thread/"
