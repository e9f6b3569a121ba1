"""Chats at the desk: Codex's word where it can be asked, ours where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.codex.errors import AppServerGone, CallTimedOut
from codex_control_plane_mcp.codex.words.things import read_turn
from codex_control_plane_mcp.desk import views_chats
from codex_control_plane_mcp.desk.chats import Format, Wanted
from codex_control_plane_mcp.desk.desk import Desk, Projects
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.summary import HistorySummary, Summaries, Unusable
from codex_control_plane_mcp.desk.transcript import Bookmark, Place
from codex_control_plane_mcp.errors import (
    AppServerUnavailable,
    InvalidArgument,
    ProjectNotFound,
    ThreadNotFound,
    TurnNotFound,
)
from codex_control_plane_mcp.model.ids import OperationId, ThreadId, TurnId
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import Claimed, Completed, Done, Plan, Report
from codex_control_plane_mcp.model.request import ArchiveThread, OperationType
from codex_control_plane_mcp.model.transcript import Role
from codex_control_plane_mcp.model.workflow import Proposal
from codex_control_plane_mcp.store import hook_history
from codex_control_plane_mcp.store.hook_history import HookEvent, HookKind
from tests.desk.reception import ME, Reception, reception
from tests.desk.shelves import NOON, Shelves, a_thread, said
from tests.desk.test_status import running, submitted

CHAT = ThreadId("t-1")


@pytest.fixture
def shelves(at: Reception) -> Shelves:
    """Codex can be asked."""
    at.runtime.shelves = Shelves()
    return at.runtime.shelves


async def listed(at: Reception, limit: int = 25, **more: Any) -> list[views_chats.ChatLine]:
    """Every chat of the project, page by page."""
    found: list[views_chats.ChatLine] = []
    cursor = None
    while True:
        page = await at.desk.project_chats(
            "shop", limit=limit, cursor=cursor, **{"include_archived": False, **more}
        )
        assert len(page.chats) <= limit
        found += page.chats
        cursor = page.next_cursor
        if cursor is None:
            return found


def plan_hash(markdown: str) -> str:
    return Proposal(TurnId("u-1"), Plan("plan", markdown)).hash


def texts(chat: views_chats.Chat) -> list[tuple[Role, str]]:
    assert chat.messages is not None
    return [(message.role, message.text) for message in chat.messages]


# --- Lists ---------------------------------------------------------------------------------------


async def test_what_is_at_work_comes_first_then_what_codex_lists_then_what_is_archived(
    at: Reception, shelves: Shelves
) -> None:
    shelves.listed = [a_thread(f"c-{number}", at.project / "inner") for number in range(8)]
    shelves.archived = [a_thread("c-away", at.project)]
    queued = await submitted(at, "one")
    at.clock.at += 1
    started = await running(at)
    shelves.listed.insert(0, a_thread("t-1", at.project))

    for limit in (25, 3, 2):
        found = await listed(at, limit, include_archived=True)
        assert found[-1].archived
        assert [(one.operation_id, one.status) for one in found[:2]] == [
            (started, "running"),
            (queued, "queued"),
        ]
        assert [one.chat_id for one in found] == [
            "t-1",
            None,
            *(f"c-{number}" for number in range(8)),
            "c-away",
        ]
    assert "c-away" not in [one.chat_id for one in await listed(at)]


async def test_chats_of_other_folders_are_not_listed(
    at: Reception, shelves: Shelves, tmp_path: Path
) -> None:
    (at.project.parent / "bakery").mkdir()
    shelves.listed = [
        a_thread("next-door", at.project.parent / "bakery"),
        a_thread("ours", at.project),
        a_thread("private", tmp_path),
        a_thread("round-about", at.project / ".." / ".." / ".."),
    ]
    assert [one.chat_id for one in await listed(at)] == ["ours"]


async def test_a_list_that_is_mostly_somebody_elses_is_gone_through_in_several_calls(
    at: Reception, shelves: Shelves, tmp_path: Path
) -> None:
    shelves.listed = [a_thread(f"p-{number}", tmp_path) for number in range(200)]
    shelves.listed.append(a_thread("ours", at.project))

    first = await at.desk.project_chats("shop", include_archived=False, limit=5, cursor=None)

    assert first.chats == ()
    assert first.next_cursor is not None
    assert [one.chat_id for one in await listed(at)] == ["ours"]


async def test_a_thread_that_moves_up_between_two_pages_hides_no_other(
    at: Reception, shelves: Shelves
) -> None:
    shelves.listed = [a_thread(f"c-{number}", at.project) for number in range(3)]
    page = await at.desk.project_chats("shop", include_archived=False, limit=2, cursor=None)
    shelves.listed = [shelves.listed[1], shelves.listed[0], shelves.listed[2]]
    rest = await at.desk.project_chats(
        "shop", include_archived=False, limit=5, cursor=page.next_cursor
    )
    assert "c-2" in [one.chat_id for one in rest.chats]


async def finished(at: Reception, number: int) -> OperationId:
    at.clock.at += 1000
    operation_id = await running(at, number)
    await at.workshop.complete(operation_id, f"done {number}", f"u-{number}")
    return operation_id


def message_to(thread_id: str, message: str) -> Task:
    return Task(
        operation_type=OperationType.SEND_MESSAGE, message=message, thread_id=ThreadId(thread_id)
    )


async def archived(at: Reception, thread_id: str) -> None:
    at.clock.at += 1000
    action = await at.desk.act(ArchiveThread, thread_id)
    away = Done(Report("The thread is archived.", None))
    await at.workshop.record(action.operation_id, Claimed(ME), away)


async def test_without_codex_the_book_lists_what_it_knows(at: Reception) -> None:
    for number in range(40):
        await finished(at, number)
    more = message_to("t-3", "and more")
    queued = (await at.desk.submit(more)).operation_id

    for limit in (7, 25):
        found = await listed(at, limit)
        assert (found[0].operation_id, found[0].title) == (queued, "task 3")
        assert {one.source for one in found} == {"tracked_turn"}
        assert [one.chat_id for one in found] == [
            "t-3",
            *(f"t-{number}" for number in range(39, -1, -1) if number != 3),
        ]


async def test_without_codex_our_own_filing_says_what_is_archived(at: Reception) -> None:
    await finished(at, 1)
    await finished(at, 2)
    await archived(at, "t-1")

    assert [one.chat_id for one in await listed(at)] == ["t-2"]
    everything = await listed(at, include_archived=True)
    assert [(one.chat_id, one.archived) for one in everything] == [("t-1", True), ("t-2", False)]
    assert (await at.desk.chat_status(ThreadId("t-1"))).archived


async def test_a_codex_that_stops_answering_is_said_and_not_papered_over(
    at: Reception, shelves: Shelves
) -> None:
    await finished(at, 1)
    shelves.listed = [a_thread(f"c-{number}", at.project) for number in range(9)]
    page = await at.desk.project_chats("shop", include_archived=False, limit=2, cursor=None)
    shelves.trouble = AppServerGone("cut", maybe_sent=False)

    with pytest.raises(AppServerUnavailable, match="cursor"):
        await at.desk.project_chats(
            "shop", include_archived=False, limit=2, cursor=page.next_cursor
        )
    assert [one.chat_id for one in await listed(at)] == ["t-1"]


async def test_active_is_whatever_runs_but_what_is_private_is_only_counted(
    at: Reception, shelves: Shelves, tmp_path: Path
) -> None:
    await submitted(at, "queued")
    await running(at)
    busy = {"type": "active", "activeFlags": ["waitingOnApproval"]}
    shelves.unlisted = [
        a_thread("t-1", at.project, status=busy),
        a_thread("theirs", at.project, status=busy),
        a_thread("private", tmp_path, status=busy),
        a_thread("idle", at.project),
    ]
    shelves.in_memory = tuple(ThreadId(id_) for id_ in ("t-1", "gone", "theirs", "private", "idle"))

    found = await at.desk.active_chats(25)

    assert [(one.chat_id, one.status) for one in found.chats] == [
        ("t-1", "running"),
        ("theirs", "waiting_for_approval"),
    ]
    assert (found.total, found.hidden) == (2, 1)


async def test_a_project_is_as_fresh_as_the_last_turn_in_codex(
    at: Reception, shelves: Shelves, tmp_path: Path
) -> None:
    shelves.listed = [a_thread("a", at.project / "deep"), a_thread("b", tmp_path)]

    found = await at.desk.projects(Projects())

    assert [(one.name, one.last_activity_at) for one in found.projects] == [("shop", NOON * 1000)]


@pytest.mark.parametrize("cursor", ["x", "", "AAAA"])
async def test_a_list_refuses_what_is_no_cursor_of_its_own(at: Reception, cursor: str) -> None:
    with pytest.raises(InvalidArgument, match="cursor"):
        await at.desk.project_chats("shop", include_archived=False, limit=2, cursor=cursor)


async def test_a_project_that_is_unknown_or_out_of_bounds_has_no_list(
    at: Reception, tmp_path: Path
) -> None:
    with pytest.raises(ProjectNotFound):
        await at.desk.project_chats("nothing", include_archived=False, limit=2, cursor=None)
    with pytest.raises(InvalidArgument, match="outside"):
        await at.desk.project_chats(str(tmp_path), include_archived=False, limit=2, cursor=None)


# --- One chat ------------------------------------------------------------------------------------


async def test_a_chat_is_what_codex_says_and_the_journal_where_it_cannot_be_asked(
    at: Reception, shelves: Shelves
) -> None:
    operation_id = await running(at)
    await at.workshop.say(operation_id, "Let me ", "i-1")
    await at.workshop.record(
        operation_id,
        entries=[
            Entry(Category.ASSISTANT, "see.", "i-1"),
            Entry(Category.COMMAND, "$ ls", "i-2"),
            Entry(Category.COMMAND, "Exit code 0.", "i-2"),
            Entry(Category.ASSISTANT, "Mended.", "i-3"),
        ],
    )
    await at.workshop.complete(operation_id, "Mended.")
    shelves.add(a_thread(CHAT, at.project), said(1, "In Codex's words."))

    with_codex = await at.desk.chat(Wanted(CHAT))
    assert texts(with_codex) == [(Role.ASSISTANT, "In Codex's words.")]
    assert with_codex.source == "app_server"

    shelves.trouble = CallTimedOut("thread/read", 5)
    journal = await at.desk.chat(Wanted(CHAT, with_tools=True))
    assert texts(journal) == [
        (Role.USER, "task 1"),
        (Role.ASSISTANT, "Let me see."),
        (Role.TOOL, "$ ls\nExit code 0."),
        (Role.ASSISTANT, "Mended."),
    ]
    assert journal.source == "tracked_turn"


async def test_where_the_journal_is_gone_the_report_is_left(at: Reception) -> None:
    await finished(at, 1)
    assert texts(await at.desk.chat(Wanted(CHAT))) == [
        (Role.USER, "task 1"),
        (Role.ASSISTANT, "done 1"),
    ]


async def test_the_journal_is_read_in_pages_too(at: Reception) -> None:
    await finished(at, 1)
    for number in range(5):
        at.clock.at += 1000
        more = message_to(CHAT, f"more {number}")
        operation_id = (await at.desk.submit(more)).operation_id
        await at.workshop.start(operation_id, turn=f"u-more-{number}")
        await at.workshop.complete(operation_id, f"{number} " * 3000, f"u-more-{number}")
    await archived(at, CHAT)

    for from_start in (True, False):
        read: list[tuple[Role, str]] = []
        cursor = None
        while True:
            page = await at.desk.chat(Wanted(CHAT, cursor, from_start))
            read = [*read, *texts(page)] if from_start else [*texts(page), *read]
            cursor = page.pagination.cursor
            if cursor is None:
                break
        assert "".join(text for _, text in read) == "task 1done 1" + "".join(
            f"more {number}" + f"{number} " * 3000 for number in range(5)
        )


async def told(at: Reception, text: str, kind: HookKind = HookKind.PROMPT) -> None:
    """A person's words in the same chat, as a hook told of them."""
    seq = await at.book.read(hook_history.last_seq)
    event = HookEvent(
        f"e-{seq + 1}",
        kind,
        Moment(at.clock.at),
        CHAT,
        TurnId(f"u-theirs-{seq // 2}"),
        str(at.project),
        "gpt",
        text,
    )
    await at.book.write(lambda writing: hook_history.keep(writing, event, 20_000))


async def test_what_hooks_told_stands_between_what_was_ours(at: Reception) -> None:
    await told(at, "Is the till broken?")
    await told(at, "It is.", HookKind.ANSWER)
    alone = await at.desk.chat(Wanted(CHAT))
    assert (alone.source, alone.title, alone.status) == (
        "hook_history",
        "Is the till broken?",
        "idle",
    )
    at.clock.at += 1000
    await finished(at, 1)
    at.clock.at += 1000
    await told(at, "Thanks. " * 2000)
    expected = [
        (Role.USER, "Is the till broken?"),
        (Role.ASSISTANT, "It is."),
        (Role.USER, "task 1"),
        (Role.ASSISTANT, "done 1"),
        (Role.USER, "Thanks. " * 2000),
    ]

    for from_start in (True, False):
        read: list[tuple[Role, str]] = []
        cursor = None
        while True:
            page = await at.desk.chat(Wanted(CHAT, cursor, from_start))
            assert page.source == "mixed"
            read = [*read, *texts(page)] if from_start else [*texts(page), *read]
            cursor = page.pagination.cursor
            if cursor is None:
                break
        assert "".join(text for _, text in read) == "".join(text for _, text in expected)
    status = await at.desk.chat_status(CHAT)
    assert (status.source, status.cwd) == ("mixed", str(at.project))


@pytest.mark.parametrize("anchor", ["hook.9", "hook.x", "hook."])
async def test_a_cursor_into_nowhere_is_refused(at: Reception, anchor: str) -> None:
    await told(at, "Is the till broken?")
    mark = Bookmark("tracked_turn", Place(anchor, back=False, index=0, offset=0), back=False)
    with pytest.raises(InvalidArgument, match="cursor"):
        await at.desk.chat(Wanted(CHAT, mark.cursor(CHAT)))


async def test_what_lies_before_a_page_is_summed_up_where_that_is_switched_on(
    at: Reception,
) -> None:
    summaries = Summaries(Unusable("the key is missing"))
    desk = Desk(at.book, at.settings, at.clock, at.runtime, threads=False, summaries=summaries)
    await finished(at, 1)
    assert (await desk.chat(Wanted(CHAT))).history_summary == HistorySummary(
        "none", "not_needed", None
    )
    for number in range(9):
        at.clock.at += 1000
        await told(at, f"no. {number} {'more ' * 800}")

    page = await desk.chat(Wanted(CHAT, messages=1))

    assert [text[:5] for _, text in texts(page)] == ["no. 8"]
    made = page.history_summary
    assert made.text is not None
    assert (made.mode, made.status) == ("local", "failed")
    assert made.text.splitlines()[1] == "It began: task 1"
    assert made.text.splitlines()[2].startswith("Last asked: no. ")
    assert made.warning is not None
    assert made.warning.message == "the key is missing"


async def test_a_thread_of_which_codex_keeps_nothing_is_read_from_the_journal(
    at: Reception, shelves: Shelves
) -> None:
    await finished(at, 1)
    shelves.unlisted = [a_thread(CHAT, at.project, ephemeral=True, preview="")]

    chat = await at.desk.chat(Wanted(CHAT))

    assert (chat.source, chat.title) == ("tracked_turn", "task 1")
    assert len(chat.messages or ()) == 2
    shelves.unlisted.append(a_thread("fresh", at.project))
    assert (await at.desk.chat(Wanted(ThreadId("fresh")))).messages == ()


async def test_a_cursor_of_codex_is_not_taken_for_one_of_the_journal(
    at: Reception, shelves: Shelves
) -> None:
    await finished(at, 1)
    shelves.add(a_thread(CHAT, at.project), *(said(n, f"{n} " * 900) for n in range(9)))
    cursor = (await at.desk.chat(Wanted(CHAT))).pagination.cursor
    shelves.trouble = AppServerGone("cut", maybe_sent=False)

    with pytest.raises(AppServerUnavailable, match="cursor"):
        await at.desk.chat(Wanted(CHAT, cursor))
    shelves.trouble = None
    shelves.shelves[CHAT].entries.clear()
    shelves.shelves[CHAT].entries.append(said(0, "rolled back"))
    with pytest.raises(InvalidArgument, match="cursor"):
        await at.desk.chat(Wanted(CHAT, cursor))


async def test_plans_are_named_by_their_hash_and_the_latest_is_shown(
    at: Reception, shelves: Shelves
) -> None:
    shelves.add(
        a_thread(CHAT, at.project),
        said(0, "Plan it.", Role.USER),
        said(1, "# One", Role.PLAN),
        said(2, "# Two\n" + "x" * 2_000, Role.PLAN),
    )
    chat = await at.desk.chat(Wanted(CHAT))

    assert [plan.plan_hash for plan in chat.plans] == [
        plan_hash("# One"),
        plan_hash("# Two\n" + "x" * 2_000),
    ]
    assert chat.latest_plan is not None
    assert (chat.latest_plan.item_id, chat.latest_plan.total_chars) == ("item-2", 2_006)
    first = await at.desk.chat(Wanted(CHAT, from_start=True, messages=2))
    assert first.latest_plan is None  # there may be a newer one


async def test_the_latest_plan_is_known_though_its_page_is_not_shown(
    at: Reception, shelves: Shelves
) -> None:
    operation_id = await running(at)
    plan = Plan("u-1-plan", "# Ours")
    await at.workshop.record(operation_id, Completed(Report("# Ours", TurnId("u-1"), plan)))
    shelves.add(a_thread(CHAT, at.project), *(said(n, "word " * 900) for n in range(5)))

    chat = await at.desk.chat(Wanted(CHAT))

    assert chat.plans == ()
    assert chat.latest_plan is not None
    assert chat.latest_plan.markdown == "# Ours"
    assert chat.history_summary == HistorySummary("local", "ok", "It began with: about t-1")


async def test_markdown_and_compact_say_the_same_with_less_around_it(
    at: Reception, shelves: Shelves
) -> None:
    shelves.add(
        a_thread(CHAT, at.project),
        said(0, "Why?", Role.USER),
        said(1, "y" * 20_000),
        said(2, "So."),
    )
    compact = await at.desk.chat(Wanted(CHAT, from_start=True, format=Format.COMPACT))
    markdown = await at.desk.chat(Wanted(CHAT, from_start=True, format=Format.MARKDOWN))

    assert compact.messages is not None
    assert (compact.messages[0].id, compact.messages[0].at) == (None, None)
    assert markdown.messages is None
    assert markdown.markdown == (
        "### user\n\nWhy?\n\n### assistant (from character 0 of 20000)\n\n"
        + compact.messages[1].text
    )


async def test_a_chat_outside_the_allowed_folders_is_not_shown_however_it_is_asked_for(
    at: Reception, shelves: Shelves, tmp_path: Path
) -> None:
    (at.project / "door").symlink_to(tmp_path)
    for number, cwd in enumerate((tmp_path, at.project / ".." / "..", at.project / "door")):
        id_ = ThreadId(f"private-{number}")
        shelves.add(a_thread(id_, cwd), said(0, "My diary."))
        for call in (at.desk.chat(Wanted(id_)), at.desk.chat_status(id_)):
            with pytest.raises(InvalidArgument, match="outside") as refused:
                await call
            assert "diary" not in str(refused.value)
            assert "about" not in str(refused.value)
        with pytest.raises(InvalidArgument, match="outside"):
            await at.desk.turn_status(TurnId("u-1"), id_)


async def test_roots_that_were_narrowed_hide_also_what_was_ours(tmp_path: Path) -> None:
    with reception(tmp_path) as before:
        await finished(before, 1)
    with (
        reception(tmp_path / "other", state_db=tmp_path / "state.sqlite3") as at,
        pytest.raises(InvalidArgument, match="outside"),
    ):
        await at.desk.chat(Wanted(CHAT))


async def test_a_chat_in_a_worktree_belongs_to_what_it_was_made_from(
    at: Reception, shelves: Shelves
) -> None:
    maker = await finished(at, 1)
    worktrees = at.settings.worktrees_folder
    shelves.add(a_thread(CHAT, worktrees / maker / "shop"), said(0, "Far from the checkout."))
    shelves.add(a_thread("nobodys", worktrees / "op_x"), said(0, "Made up."))

    assert [one.chat_id for one in await listed(at)] == [CHAT]
    assert texts(await at.desk.chat(Wanted(CHAT))) == [(Role.ASSISTANT, "Far from the checkout.")]
    with pytest.raises(InvalidArgument, match="outside"):
        await at.desk.chat(Wanted(ThreadId("nobodys")))


async def test_a_chat_whose_folder_is_gone_can_still_be_read(
    at: Reception, shelves: Shelves
) -> None:
    shelves.add(a_thread(CHAT, at.project / "torn" / "down"), said(0, "It was here."))
    assert len((await at.desk.chat(Wanted(CHAT))).messages or ()) == 1


async def test_what_nobody_knows_is_not_found_and_it_says_who_was_asked(
    at: Reception, shelves: Shelves
) -> None:
    with pytest.raises(ThreadNotFound, match="no chat has this id"):
        await at.desk.chat(Wanted(ThreadId("t-x")))
    at.runtime.shelves = None
    with pytest.raises(ThreadNotFound, match="Codex cannot be asked"):
        await at.desk.chat_status(ThreadId("t-x"))


async def test_a_status_says_whose_word_it_is(at: Reception, shelves: Shelves) -> None:
    shelves.add(a_thread("theirs", at.project, status={"type": "active", "activeFlags": []}))
    theirs = await at.desk.chat_status(ThreadId("theirs"))
    assert (theirs.status, theirs.source, theirs.operation) == ("running", "app_server", None)

    await running(at)
    ours = await at.desk.chat_status(CHAT)
    assert (ours.status, ours.source, ours.codex_status) == ("running", "tracked_turn", None)
    assert ours.operation is not None
    shelves.add(a_thread(CHAT, at.project, name="The till"))
    both = await at.desk.chat_status(CHAT)
    assert (both.status, both.source, both.title) == ("running", "mixed", "The till")


# --- Turns ---------------------------------------------------------------------------------------


async def test_our_turn_is_found_with_or_without_its_thread(at: Reception) -> None:
    operation_id = await running(at)
    await at.workshop.say(operation_id, "Let me ")
    await at.workshop.say(operation_id, "see.")

    for thread_id in (None, CHAT):
        turn = await at.desk.turn_status(TurnId("u-1"), thread_id)
        assert (turn.status, turn.chat_id, turn.latest_message) == ("running", CHAT, "Let me see.")
        assert turn.operation is not None
        assert turn.operation.operation_id == operation_id


async def test_somebody_elses_turn_is_codexs_word(at: Reception, shelves: Shelves) -> None:
    shelves.add(a_thread("theirs", at.project))
    shelves.turned[ThreadId("theirs")] = [
        read_turn({"id": f"u-{number}", "status": status, "error": {"message": "no"}})
        for number, status in enumerate(["inProgress", *["completed"] * 5, "failed"])
    ]
    running_one = await at.desk.turn_status(TurnId("u-0"), ThreadId("theirs"))
    assert (running_one.status, running_one.source) == ("running", "app_server")
    failed = await at.desk.turn_status(TurnId("u-6"), ThreadId("theirs"))
    assert failed.last_error is not None
    assert (failed.status, failed.last_error.message) == ("failed", "no")


async def test_a_turn_that_nobody_knows_is_not_found(at: Reception, shelves: Shelves) -> None:
    with pytest.raises(TurnNotFound, match="thread_id"):
        await at.desk.turn_status(TurnId("u-x"), None)
    shelves.add(a_thread("theirs", at.project))
    with pytest.raises(TurnNotFound, match="u-x"):
        await at.desk.turn_status(TurnId("u-x"), ThreadId("theirs"))
    with pytest.raises(ThreadNotFound):
        await at.desk.turn_status(TurnId("u-x"), ThreadId("t-x"))
