"""A client of our own server: the official SDK over stdio, through the real pipe.

What the command line does, any client can do: it takes no shorter way to the worker. Answers are
parsed here into what the commands read of them; the rest of the contract passes by.
"""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.model.operation import FINAL

if TYPE_CHECKING:
    from mcp.client import Client

CLIENT_NAME = "codex-control-plane-mcp-admin"
#: A call may wait for 45 s, and the first one for the worker to start.
CALL_SECONDS = 90.0


class ToolRefused(Exception):
    """The server answered a call with an error of the contract."""

    def __init__(self, tool: str, code: str, message: str) -> None:
        super().__init__(f"{tool}: {code}: {message}")
        self.code = code
        self.message = message
        #: Data that a program may act on.
        self.details: Mapping[str, object] = {}
        self.retryable = False


class Told(BaseModel):
    """A part of an answer. Fields that nobody here reads are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class Event(Told):
    seq: int
    category: str
    text: str


class Interaction(Told):
    interaction_id: str
    kind: str
    prompt: str
    command: str | None = None
    cwd: str | None = None
    reason: str | None = None


class Report(Told):
    text: str
    next_offset: int | None = None


class LastError(Told):
    code: str
    message: str


class Operation(Told):
    operation_id: str
    status: str
    thread_id: str | None = None
    turn_id: str | None = None
    idempotent: bool = False
    progress_events: tuple[Event, ...] = ()
    next_after_seq: int | None = None
    latest_seq: int = 0
    pending_interactions: tuple[Interaction, ...] = ()
    final_report: Report | None = None
    last_error: LastError | None = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


class ActiveWork(Told):
    active_turn_count: int
    pending_interaction_count: int
    pending_requests: int


class Health(Told):
    active_work: ActiveWork


class Receipt(Told):
    status: str


T = TypeVar("T", bound=Told)


class Server:
    """The tools that the command line uses."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    async def submit(self, **arguments: object) -> Operation:
        return await self._call(Operation, "codex_submit_task", arguments)

    async def status(self, operation_id: str, **arguments: object) -> Operation:
        named = {"operation_id": operation_id, **arguments}
        return await self._call(Operation, "codex_get_operation_status", named)

    async def answer(self, interaction_id: str, decision: str) -> Receipt:
        named = {"interaction_id": interaction_id, "decision": decision}
        return await self._call(Receipt, "codex_answer_pending_interaction", named)

    async def interrupt(self, operation_id: str) -> Receipt:
        return await self._call(Receipt, "codex_interrupt_turn", {"operation_id": operation_id})

    async def health(self) -> Health:
        return await self._call(Health, "codex_health_summary", {})

    async def call(self, tool: str, **arguments: object) -> dict[str, object]:
        """What a tool answers, as it is. An argument that is None is left out."""
        given = {name: value for name, value in arguments.items() if value is not None}
        result = await self._client.call_tool(tool, given)
        told = result.structured_content
        if result.is_error:
            error = told.get("error", {}) if isinstance(told, dict) else {}
            message = str(error.get("message", result.content))
            refused = ToolRefused(tool, str(error.get("code", "no code")), message)
            refused.details = error.get("details", {})
            refused.retryable = error.get("retryable") is True
            raise refused
        return dict(told or {})

    async def _call(self, shape: type[T], tool: str, arguments: Mapping[str, object]) -> T:
        told = await self.call(tool, **arguments)
        try:
            return shape.model_validate(told)
        except ValidationError as odd:
            raise ToolRefused(tool, "odd answer", str(odd)) from odd


@asynccontextmanager
async def connected(
    environ: Mapping[str, str], state_db: Path, errors: TextIO = sys.stderr
) -> AsyncIterator[Server]:
    """A session with the server of `state_db`; its worker is started if none answers."""
    # -P: the folder we are in must not become a place to import from.
    module = [sys.executable, "-P", "-m", "codex_control_plane_mcp.server"]
    async with session([*module, "--state-db", str(state_db)], environ, errors) as client:
        await client.list_tools()  # as every client does; the SDK checks answers by it
        yield Server(client)


@asynccontextmanager
async def session(
    command: Sequence[str], environ: Mapping[str, str], errors: TextIO = sys.stderr
) -> AsyncIterator["Client"]:
    """A session with the server that this command starts."""
    # The SDK takes more than a second to import: not before the person has something to look at.
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client
    from mcp_types import Implementation

    program, *arguments = command
    pipe = StdioServerParameters(command=program, args=arguments, env=dict(environ))
    async with Client(
        stdio_client(pipe, errors),
        mode="legacy",  # the handshake that clients in the field speak
        client_info=Implementation(name=CLIENT_NAME, version=__version__),
        read_timeout_seconds=CALL_SECONDS,
    ) as client:
        yield client
