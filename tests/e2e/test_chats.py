"""Chats over MCP stdio on real Codex: found, read page by page, ours and a person's."""

import anyio
import pytest

from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words import events, verbs
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.transcript import Entry
from codex_control_plane_mcp.processes import terminate
from tests.e2e.stage import SOON_SECONDS, Client, Result, Stage, ToolError, gone

pytestmark = [pytest.mark.real, pytest.mark.anyio]

NO_THREAD = "01a20511-94b0-7651-9677-a1c470d6832d"
#: More items than anybody reads, in so many turns, and how long Codex may take to make them.
MANY = 5_000
TURNS = 10
MANY_SECONDS = 240.0


async def a_chat(stage: Stage, client: Client, prompt: str = "say The shop is open.") -> str:
    receipt = await client.submit(prompt, cwd=str(stage.project))
    thread_id = (await client.finished(receipt["operationId"]))["threadId"]
    assert isinstance(thread_id, str)
    return thread_id


async def typed_by_a_person(session: CodexSession, cwd: str, *prompts: str) -> ThreadId:
    """Turns that somebody else has Codex do, to their end."""
    begun = await session.start_thread(verbs.StartThread(cwd, sandbox="read-only"))
    thread_id = begun.thread.id
    with session.inbox(thread_id) as inbox, anyio.fail_after(MANY_SECONDS):
        for prompt in prompts:
            await session.start_turn(verbs.StartTurn(thread_id, (verbs.Text(prompt),)))
            while not any(
                isinstance(said, events.TurnCompleted) for said in await inbox.receive_many()
            ):
                pass
    return thread_id


async def codexs_own(session: CodexSession, thread_id: str) -> list[Entry]:
    """Everything in a thread as Codex has it."""
    found: list[Entry] = []
    cursor = None
    while True:
        page = await session.list_entries(
            verbs.ListItems(ThreadId(thread_id), limit=100, cursor=cursor)
        )
        found += page.data
        cursor = page.next_cursor
        if cursor is None:
            return found


async def pages(
    client: Client, chat_id: str, *, most: int | None = None, **arguments: object
) -> list[Result]:
    """The pages of a chat, as a client that follows the cursor sees them."""
    found = [await client.call("codex_get_chat", chat_id=chat_id, **arguments)]
    while len(found) != most and (cursor := found[-1]["pagination"]["cursor"]) is not None:
        found.append(
            await client.call("codex_get_chat", chat_id=chat_id, cursor=cursor, **arguments)
        )
        assert "truncated" not in found[-1]
    return found


def joined(read: list[Result]) -> list[tuple[str, str]]:
    """Messages with their ids, those that were cut put together again."""
    whole: dict[str, str] = {}
    for page in read:
        for message in page["messages"]:
            text = whole.setdefault(message["id"], "")
            assert message.get("offset", 0) == len(text)
            whole[message["id"]] = text + message["text"]
    return list(whole.items())


async def test_a_persons_chat_of_5000_items_is_read_to_the_letter(
    stage: Stage, client: Client
) -> None:
    await a_chat(stage, client)
    prompts = [
        "\n".join(f"say Message {number} of turn {turn}." for number in range(MANY // TURNS - 1))
        for turn in range(TURNS)
    ]
    async with stage.codex() as session:
        chat_id = await typed_by_a_person(session, str(stage.project), *prompts)
        stored = [(entry.id, entry.text) for entry in await codexs_own(session, chat_id)]
    assert len(stored) == MANY

    onwards = await pages(client, chat_id, range={"mode": "all"})
    assert joined(onwards) == stored
    assert {page["source"] for page in onwards} == {"app_server"}

    newest = await pages(client, chat_id, most=5)
    assert newest[0]["historySummary"]["text"].startswith("It began with: say Message 0 of turn 0.")
    shown = joined(newest[::-1])
    assert shown == stored[-len(shown) :]
    assert len(shown) > 100


async def test_a_message_longer_than_a_page_is_read_from_either_end(
    stage: Stage, client: Client
) -> None:
    chat_id = await a_chat(stage, client, "say Wait.\nstream 4000 words\nsay Done.")
    async with stage.codex() as session:
        stored = [(entry.id, entry.text) for entry in await codexs_own(session, chat_id)]

    assert joined(await pages(client, chat_id, range={"mode": "all"})) == stored
    back = await pages(client, chat_id)
    assert len(back) > 2
    assert joined(back[::-1]) == stored


async def test_what_is_said_later_is_read_by_the_cursor_of_before(
    stage: Stage, client: Client
) -> None:
    chat_id = await a_chat(stage, client)
    before = await client.call("codex_get_chat", chat_id=chat_id)
    later = {"chat_id": chat_id, "cursor": before["pagination"]["laterCursor"]}
    assert (await client.call("codex_get_chat", **later))["messages"] == []

    receipt = await client.submit(
        "say And closed again.", operation_type="send_message", thread_id=chat_id
    )
    await client.finished(receipt["operationId"])
    news = await client.call("codex_get_chat", **later)

    assert [one["text"] for one in news["messages"]] == [
        "say And closed again.",
        "And closed again.",
    ]
    assert news["pagination"]["hasMoreBefore"] is True


async def test_commands_and_their_output_are_shown_when_asked_for(
    stage: Stage, client: Client
) -> None:
    chat_id = await a_chat(stage, client, "think Hm.\nrun echo one two\nsay Counted.")

    spoken = await client.call("codex_get_chat", chat_id=chat_id, format="compact")
    assert [one["role"] for one in spoken["messages"]] == ["user", "assistant"]
    everything = await client.call(
        "codex_get_chat", chat_id=chat_id, include_tool_calls=True, format="markdown"
    )
    assert "### reasoning\n\nHm." in everything["markdown"]
    assert "one two\n[exit code 0]" in everything["markdown"]
    assert "messages" not in everything


async def test_ours_is_listed_at_once_and_a_persons_too(stage: Stage, client: Client) -> None:
    receipt = await client.submit("hold door\nsay Done.", cwd=str(stage.project))
    listed = await client.call("codex_list_project_chats", project_id="shop")
    assert [one["operationId"] for one in listed["chats"]] == [receipt["operationId"]]

    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("door")
    running = await client.until(receipt["operationId"], "running")
    inner = stage.project / "inner"
    inner.mkdir()
    async with stage.codex() as session:
        theirs = await typed_by_a_person(session, str(inner), "say Mine.")
        elsewhere = await typed_by_a_person(session, str(stage.root), "say Private.")

    active = await client.call("codex_list_active_chats")
    assert [one["chatId"] for one in active["chats"]] == [running["threadId"]]
    listed = await client.call("codex_list_project_chats", project_id="shop")
    assert [(one["chatId"], one["status"]) for one in listed["chats"]] == [
        (running["threadId"], "running"),
        (theirs, "idle"),
    ]
    with pytest.raises(ToolError, match="outside the allowed ones"):
        await client.call("codex_get_chat", chat_id=elsewhere)

    stage.model.release("door")
    await client.finished(receipt["operationId"])
    status = await client.call("codex_get_chat_status", chat_id=running["threadId"])
    assert (status["status"], status["source"]) == ("idle", "mixed")


async def test_a_persons_turn_has_a_status(stage: Stage, client: Client) -> None:
    await a_chat(stage, client)
    async with stage.codex() as session:
        chat_id = await typed_by_a_person(session, str(stage.project), "say Mine.")
        turn_id = (await codexs_own(session, chat_id))[0].turn_id

    turn = await client.call("codex_get_turn_status", turn_id=turn_id, thread_id=chat_id)
    assert (turn["status"], turn["latestMessage"], turn["source"]) == (
        "completed",
        "Mine.",
        "app_server",
    )
    with pytest.raises(ToolError, match="CODEX_TURN_NOT_FOUND"):
        await client.call("codex_get_turn_status", turn_id=NO_THREAD, thread_id=chat_id)
    with pytest.raises(ToolError, match="CODEX_TURN_NOT_FOUND"):
        await client.call("codex_get_turn_status", turn_id=turn_id)


async def test_an_archived_chat_is_listed_when_asked_for_and_read(
    stage: Stage, client: Client
) -> None:
    kept = await a_chat(stage, client, "say Kept.")
    away = await a_chat(stage, client, "say Away.")
    await client.call("codex_archive_thread", thread_id=away)

    listed = await client.call("codex_list_project_chats", project_id="shop")
    assert [one["chatId"] for one in listed["chats"]] == [kept]
    listed = await client.call("codex_list_project_chats", project_id="shop", include_archived=True)
    assert [(one["chatId"], one["archived"]) for one in listed["chats"]] == [
        (kept, False),
        (away, True),
    ]
    read = await client.call("codex_get_chat", chat_id=away)
    assert read["archived"] is True
    assert read["messages"][-1]["text"] == "Away."


async def test_chats_are_listed_page_by_page_each_once(stage: Stage, client: Client) -> None:
    chats = [await a_chat(stage, client, f"say {number}.") for number in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        page = await client.call(
            "codex_list_project_chats", project_id="shop", limit=2, cursor=cursor
        )
        seen += [one["chatId"] for one in page["chats"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == chats[::-1]


async def test_what_nobody_knows_is_not_found(stage: Stage, client: Client) -> None:
    for known in (False, True):  # before and after Codex runs
        for tool in ("codex_get_chat", "codex_get_chat_status"):
            with pytest.raises(ToolError, match="CODEX_THREAD_NOT_FOUND"):
                await client.call(tool, chat_id=NO_THREAD)
        with pytest.raises(ToolError, match="CODEX_PROJECT_NOT_FOUND"):
            await client.call("codex_list_project_chats", project_id="nothing")
        if not known:
            await a_chat(stage, client)


async def test_without_codex_the_journal_answers_and_says_so(stage: Stage) -> None:
    async with stage.client() as client:
        chat_id = await a_chat(stage, client, "say Still here.")
        from_codex = await client.call("codex_get_chat", chat_id=chat_id, format="compact")
    worker = stage.worker()
    terminate(worker)
    await gone(worker)

    async with stage.client() as client:
        server = await client.call("codex_get_app_server_status")
        assert (server["status"], server["pid"]) == ("not_started", None)
        read = await client.call("codex_get_chat", chat_id=chat_id, format="compact")
        assert read["source"] == "tracked_turn"
        assert read["messages"] == from_codex["messages"]
        listed = await client.call("codex_list_project_chats", project_id="shop")
        assert [(one["chatId"], one["source"]) for one in listed["chats"]] == [
            (chat_id, "tracked_turn")
        ]
        assert (await client.call("codex_list_active_chats"))["total"] == 0
        again = await client.call("codex_get_app_server_status")
        assert again == server
