"""The tools that show chats, turns and the app-server. None of them starts or changes anything."""

from typing import Annotated, Any, Literal

from pydantic import Field

from codex_control_plane_mcp.desk import views_chats
from codex_control_plane_mcp.desk.chats import Format, Wanted
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.mcp.arguments import Arguments
from codex_control_plane_mcp.doors.mcp.tool import READS, Shown, Tool
from codex_control_plane_mcp.model.ids import ThreadId, TurnId

_Limit = Annotated[int, Field(ge=1, le=100)]
#: As many chats as a result holds.
CHATS = 25


class ListProjectChats(Arguments):
    project_id: str = Field(description="Id, path or exact name")
    include_archived: bool | None = None
    limit: _Limit | None = None
    cursor: str | None = None


class ListActiveChats(Arguments):
    pass


class GetChatStatus(Arguments):
    chat_id: str


class Range(Arguments):
    mode: Literal["last_messages", "last_turns", "all"] = Field(
        "last_messages", description="all: from the beginning"
    )
    limit: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="For each page")


class GetChat(Arguments):
    chat_id: str
    range: Range | None = None
    include_tool_calls: bool | None = Field(
        None, description="Also commands, diffs, tools, with output"
    )
    format: Annotated[Format, Field(strict=False)] | None = None
    cursor: str | None = Field(None, description="pagination.cursor, or laterCursor for news")


class GetTurnStatus(Arguments):
    turn_id: str
    thread_id: str | None = None


class GetAppServerStatus(Arguments):
    pass


async def _project_chats(desk: Desk, wanted: ListProjectChats, _by: str) -> Shown:
    found = await desk.project_chats(
        wanted.project_id,
        include_archived=wanted.include_archived or False,
        limit=min(wanted.limit or CHATS, CHATS),
        cursor=wanted.cursor,
    )
    return Shown((found,))


async def _active_chats(desk: Desk, _wanted: ListActiveChats, _by: str) -> Shown:
    return Shown((await desk.active_chats(CHATS),))


async def _chat_status(desk: Desk, wanted: GetChatStatus, _by: str) -> Shown:
    return Shown((await desk.chat_status(ThreadId(wanted.chat_id)),))


async def _chat(desk: Desk, wanted: GetChat, _by: str) -> Shown:
    mode = wanted.range.mode if wanted.range else "last_messages"
    limit = wanted.range.limit if wanted.range else None
    found = await desk.chat(
        Wanted(
            ThreadId(wanted.chat_id),
            wanted.cursor,
            from_start=mode == "all",
            messages=limit if mode != "last_turns" else None,
            turns=limit or 1 if mode == "last_turns" else None,
            with_tools=wanted.include_tool_calls or False,
            format=wanted.format or Format.STRUCTURED,
        )
    )
    return Shown((found,))


async def _turn_status(desk: Desk, wanted: GetTurnStatus, _by: str) -> Shown:
    thread_id = None if wanted.thread_id is None else ThreadId(wanted.thread_id)
    return Shown((await desk.turn_status(TurnId(wanted.turn_id), thread_id),))


async def _app_server(desk: Desk, _wanted: GetAppServerStatus, _by: str) -> Shown:
    return Shown((desk.app_server(),))


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "codex_list_project_chats",
        "Chats of a project, those at work first.",
        ListProjectChats,
        (views_chats.ChatList,),
        READS,
        _project_chats,
        toolset="read",
        repeatable=True,
        stable=False,
    ),
    Tool(
        "codex_list_active_chats",
        "Chats in which a turn runs or waits for a person, whoever began it.",
        ListActiveChats,
        (views_chats.ActiveChats,),
        READS,
        _active_chats,
        toolset="read",
        repeatable=True,
        stable=False,
    ),
    Tool(
        "codex_get_chat_status",
        "How a chat stands. chat_id is the threadId.",
        GetChatStatus,
        (views_chats.ChatStatus,),
        READS,
        _chat_status,
        toolset="read",
        repeatable=True,
        stable=False,
    ),
    Tool(
        "codex_get_chat",
        "Read a chat, by default from its end back. While pagination.cursor is set there is more.",
        GetChat,
        (views_chats.Chat,),
        READS,
        _chat,
        toolset="read",
        repeatable=True,
        stable=False,
    ),
    Tool(
        "codex_get_turn_status",
        "How a turn stands, also one that a person started in Codex (give its thread_id then).",
        GetTurnStatus,
        (views_chats.TurnStatus,),
        READS,
        _turn_status,
        toolset="read",
        repeatable=True,
        stable=False,
    ),
    Tool(
        "codex_get_app_server_status",
        "Codex's app-server as it is known now. Starts nothing.",
        GetAppServerStatus,
        (views_chats.AppServerStatus,),
        READS,
        _app_server,
        toolset="read",
        repeatable=True,
        stable=False,
    ),
)
