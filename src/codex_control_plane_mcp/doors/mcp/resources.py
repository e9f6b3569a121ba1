"""The same things as the tools show, as MCP resources: to be attached rather than called for.

`codex://operation/ID`, its `/report` and `/events`, and `codex://thread/ID`. What is longer than a
result may be comes in parts; each names the URI of the next one. Reading starts nothing and asks
Codex nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.recent import RecentOperation
from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.desk.views import OperationView
from codex_control_plane_mcp.doors.mcp.fit import (
    Json,
    Shorten,
    compact,
    cut_report,
    drop_first,
    drop_last,
    fit,
)
from codex_control_plane_mcp.doors.mcp.guidance import guide
from codex_control_plane_mcp.doors.presentable import presentable, presentable_text
from codex_control_plane_mcp.doors.shape import as_json
from codex_control_plane_mcp.errors import ControlPlaneError, InvalidArgument, NotFound
from codex_control_plane_mcp.model.ids import OperationId

JSON, MARKDOWN = "application/json", "text/markdown"
EVENTS = 50
EVENT_CHARS = 1_000

_Context = ServerRequestContext[Any]

TEMPLATES = (
    ResourceTemplate(
        name="operation",
        uri_template="codex://operation/{operation_id}",
        description="How a task stands, as codex_get_operation_status shows it",
        mime_type=JSON,
    ),
    ResourceTemplate(
        name="report",
        uri_template="codex://operation/{operation_id}/report{?offset}",
        description="What Codex said at the end of a task",
        mime_type=MARKDOWN,
    ),
    ResourceTemplate(
        name="events",
        uri_template="codex://operation/{operation_id}/events{?after_seq}",
        description="What happened in a task, oldest first",
        mime_type=JSON,
    ),
    ResourceTemplate(
        name="thread",
        uri_template="codex://thread/{thread_id}{?cursor}",
        description="The tasks of a thread, newest first, and a summary of it",
        mime_type=JSON,
    ),
)


class Resources:
    """What is listed and read, for any number of connections."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list(
        self, _context: _Context, params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        """The operations that were submitted last; what belongs to them follows the templates."""
        try:
            page = await self._desk.recent(None if params is None else params.cursor)
        except ControlPlaneError as error:
            raise _protocol_error(error) from error
        return ListResourcesResult(
            resources=[_listed(one) for one in page.operations], next_cursor=page.next_cursor
        )

    async def list_templates(
        self, _context: _Context, _params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=list(TEMPLATES))

    async def read(
        self, _context: _Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        try:
            text, mime_type = await self._read(_address(params.uri))
        except ControlPlaneError as error:
            raise _protocol_error(error) from error
        contents = TextResourceContents(uri=params.uri, mime_type=mime_type, text=text)
        return ReadResourceResult(contents=[contents])

    async def _read(self, address: "_Address") -> tuple[str, str]:
        match address.path:
            case ("operation", operation_id):
                address.takes()
                return await self._operation(OperationId(operation_id)), JSON
            case ("operation", operation_id, "report"):
                address.takes("offset")
                offset = address.number("offset")
                return await self._report(OperationId(operation_id), offset), MARKDOWN
            case ("operation", operation_id, "events"):
                address.takes("after_seq")
                after_seq = address.number("after_seq")
                return await self._events(OperationId(operation_id), after_seq), JSON
            case ("thread", thread_id):
                address.takes("cursor")
                return await self._thread(thread_id, address.query.get("cursor")), JSON
            case _:
                known = ", ".join(one.uri_template for one in TEMPLATES)
                raise InvalidArgument(f"there is no such resource; there are: {known}", field="uri")

    async def _operation(self, operation_id: OperationId) -> str:
        shown = await self._desk.status(Look(operation_id=operation_id))
        return _fitted(as_json(shown), *_OPERATION_RULES)

    async def _report(self, operation_id: OperationId, offset: int) -> str:
        look = Look(operation_id=operation_id, progress_events=0, report_offset=offset)
        shown = await self._desk.status(look)
        report = shown.final_report
        if report is None:
            raise InvalidArgument(f"{operation_id} has no report: it is {shown.status}")
        text = presentable_text(report.text)
        if report.next_offset is None:
            return text
        following = f"codex://operation/{operation_id}/report?offset={report.next_offset}"
        return f"{text}\n\n[of {report.total_chars} characters; it goes on in {following}]"

    async def _events(self, operation_id: OperationId, after_seq: int) -> str:
        look = Look(
            operation_id=operation_id,
            after_seq=after_seq,
            last_messages=0,
            progress_events=EVENTS,
            progress_max_chars=EVENT_CHARS,
        )
        shown = await self._desk.status(look)
        result = _events_of(as_json(shown), shown)
        return _fitted(result, drop_last("progressEvents", then=_go_on_behind_last))

    async def _thread(self, thread_id: str, cursor: str | None) -> str:
        shown = await self._desk.thread(thread_id, cursor)
        return _fitted(as_json(shown), drop_last("operations", then=_go_on_in_thread))


_OPERATION_RULES: tuple[Shorten, ...] = (
    drop_first("progressEvents"),
    drop_first("latestMessages"),
    cut_report,
)


def _listed(one: RecentOperation) -> Resource:
    return Resource(
        name=one.operation_id,
        title=presentable_text(one.title),
        uri=f"codex://operation/{one.operation_id}",
        description=f"{one.operation_type}, {one.status}, in {one.project_id}",
        mime_type=JSON,
    )


def _events_of(result: Json, shown: OperationView) -> Json:
    kept = ("operationId", "status", "progressEvents", "nextAfterSeq", "latestSeq")
    events: Json = {name: result[name] for name in kept}
    if (shown.next_after_seq or 0) < shown.latest_seq:
        events["next"] = _events_uri(shown.operation_id, shown.next_after_seq)
    return events


def _events_uri(operation_id: object, after_seq: object) -> str:
    return f"codex://operation/{operation_id}/events?after_seq={after_seq}"


def _go_on_behind_last(result: Json, left: int) -> None:
    result["nextAfterSeq"] = result["progressEvents"][left - 1]["seq"]
    result["next"] = _events_uri(result["operationId"], result["nextAfterSeq"])


def _go_on_in_thread(result: Json, left: int) -> None:
    result["nextCursor"] = result["operations"][left - 1]["operationId"]


def _fitted(result: Json, *rules: Shorten) -> str:
    guide(result)
    return compact(fit(presentable(result), rules))


# --- Addresses -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Address:
    path: tuple[str, ...]
    query: Mapping[str, str]

    def takes(self, *names: str) -> None:
        """Raises InvalidArgument for anything else in the query."""
        if unknown := set(self.query) - set(names):
            raise InvalidArgument(f"{', '.join(unknown)} means nothing here", field="uri")

    def number(self, name: str) -> int:
        stated = self.query.get(name, "0")
        if not (stated.isascii() and stated.isdecimal() and len(stated) < 16):
            raise InvalidArgument(f"{name} must be a number, 0 or more", field="uri")
        return int(stated)


def _address(uri: str) -> _Address:
    try:
        parts = urlsplit(uri)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise InvalidArgument(f"this is no URI: {error}", field="uri") from error
    if parts.scheme != "codex":
        return _Address((), {})
    path = (parts.netloc, *parts.path.removeprefix("/").split("/"))
    return _Address(tuple(unquote(part) for part in path), dict(query))


def _protocol_error(error: ControlPlaneError) -> MCPError:
    """A resource has no other way to say that it is not there."""
    is_theirs = isinstance(error, InvalidArgument | NotFound)
    said = presentable({"message": error.message, "details": dict(error.details)})
    return MCPError(
        INVALID_PARAMS if is_theirs else INTERNAL_ERROR,
        said["message"],
        {"code": error.code, "details": said["details"], "retryable": error.retryable},
    )
