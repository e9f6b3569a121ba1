"""What a page is told while it is open: that something changed, and each new line of a timeline.

Server-sent events. A page shows states, so after a gap it reads the present one again; only a
timeline is told line by line, from the number of the last one that the page has.
"""

import json

import anyio
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from codex_control_plane_mcp.desk.views_overview import Timeline
from codex_control_plane_mcp.doors.web.site import Site
from codex_control_plane_mcp.errors import ControlPlaneError, InvalidArgument
from codex_control_plane_mcp.model.ids import OperationId

#: A page that hears nothing for three of these knows that the worker hangs.
PING_SECONDS = 20.0
#: Changes that come faster than this are told together.
GAP_SECONDS = 0.2
#: Lines of a timeline told at once.
LINES = 400


class EventStream:
    """An ASGI answer that lasts until the page is closed or the worker leaves."""

    def __init__(self, site: Site, operation_id: OperationId | None, after: int) -> None:
        self._site = site
        self._operation_id = operation_id
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self._site.count(+1)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_closed, receive, tasks.cancel_scope)
                tasks.start_soon(self._until_left, tasks.cancel_scope)
                await self._tell(send)
        finally:
            self._site.count(-1)
        if self._site.leaving.is_set():
            with anyio.CancelScope(shield=True):
                await send(_body(_event("bye", {}), more=False))

    async def _until_left(self, scope: anyio.CancelScope) -> None:
        await self._site.leaving.wait()
        scope.cancel()

    async def _tell(self, send: Send) -> None:
        with self._site.desk.overview.changes() as change:
            told = {"worker": self._site.worker, "release": self._site.release}
            await send(_body(_event("hello", told)))
            await self._tell_lines(send)
            while True:
                heard = False
                with anyio.move_on_after(PING_SECONDS):
                    await change.wait()
                    heard = True
                if not heard:
                    await send(_body(_event("ping", {})))
                    continue
                await self._tell_lines(send)
                await send(_body(_event("changed", {})))
                await anyio.sleep(GAP_SECONDS)

    async def _tell_lines(self, send: Send) -> None:
        if self._operation_id is None:
            return
        has_more = True
        while has_more:
            try:
                timeline: Timeline = await self._site.desk.overview.timeline(
                    self._operation_id, self._after, LINES
                )
            except ControlPlaneError:
                return  # The book is busy: the lines come with the next change.
            if timeline.entries:
                self._after = timeline.last_seq
                html = self._site.render("timeline.html", entries=timeline.entries)
                await send(_body(_event("lines", {"html": html}, self._after)))
            has_more = timeline.has_more


async def stream(site: Site, request: Request) -> EventStream:
    """The stream of a page. Raises OperationNotFound, InvalidArgument."""
    operation_id = request.query_params.get("task")
    seen = request.headers.get("last-event-id") or request.query_params.get("after", "0")
    if not (seen.isascii() and seen.isdecimal()) or len(seen) > 15:
        raise InvalidArgument("after must be the number of a line", field="after")
    if operation_id is None:
        return EventStream(site, None, 0)
    await site.desk.overview.timeline(OperationId(operation_id), 0, 1)
    return EventStream(site, OperationId(operation_id), int(seen))


async def _until_closed(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _event(name: str, data: object, id_: int | None = None) -> bytes:
    place = "" if id_ is None else f"id: {id_}\n"
    return f"event: {name}\n{place}data: {json.dumps(data)}\n\n".encode()


def _body(content: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": more}
