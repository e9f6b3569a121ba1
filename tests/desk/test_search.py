"""Search: what was asked, said, planned and reported is found at once, ranked, and once."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk import search as desk_search
from codex_control_plane_mcp.desk.projects import project_id
from codex_control_plane_mcp.desk.search import Page, Query
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.errors import InvalidArgument, ProjectNotFound, StateBusy
from codex_control_plane_mcp.model.ids import OperationId, ThreadId, TurnId
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import Completed, Plan, Report
from codex_control_plane_mcp.model.request import ArchiveThread, OperationType
from codex_control_plane_mcp.store import hook_history
from codex_control_plane_mcp.store import search as index
from codex_control_plane_mcp.store.hook_history import HookEvent, HookKind
from codex_control_plane_mcp.store.search import MatchMode
from tests.desk.reception import Reception

pytestmark = pytest.mark.anyio


async def submitted(at: Reception, message: str, **more: Any) -> OperationId:
    task = Task(
        operation_type=OperationType.START_CHAT, message=message, cwd=str(at.project), **more
    )
    return OperationId((await at.desk.submit(task)).operation_id)


async def typed(at: Reception, text: str, kind: HookKind = HookKind.PROMPT, **more: Any) -> None:
    """A person's words, as the worker takes them in."""
    number = await at.book.read(hook_history.last_seq)
    event = HookEvent(
        event_id=f"{number}",
        kind=kind,
        at=Moment(at.clock.at),
        thread_id=ThreadId("t-theirs"),
        turn_id=TurnId("u-theirs"),
        cwd=str(at.project),
        model="gpt",
        text=text,
    )
    await at.book.write(lambda writing: hook_history.keep(writing, replace(event, **more), 20_000))


async def search(at: Reception, query: str, mode: str = "all", **more: Any) -> Page:
    return await at.desk.search(Query(query, mode=MatchMode(mode), **more))


async def found(at: Reception, query: str, mode: str = "all", **more: Any) -> list[tuple[str, str]]:
    """Kind and snippet of what is found."""
    page = await search(at, query, mode, **more)
    return [(hit.kind, hit.snippet) for hit in page.view.results]


# --- What is found -------------------------------------------------------------------------------


async def test_a_prompt_is_found_as_soon_as_it_is_acknowledged(at: Reception) -> None:
    id_ = await submitted(at, "Mend the brass till.")
    (hit,) = (await search(at, "brass")).view.results

    assert (hit.operation_id, hit.kind, hit.source) == (id_, "prompt", "tracked_turn")
    assert (hit.thread_id, hit.turn_id) == (None, None)
    assert hit.snippet == "Mend the brass till."
    assert hit.project_id == project_id(at.project)


async def test_later_it_bears_its_thread_and_turn(at: Reception) -> None:
    id_ = await submitted(at, "Mend the till.")
    await search(at, "till")
    await at.workshop.start(id_, "t-7", "u-7")
    (hit,) = (await search(at, "till")).view.results
    assert (hit.chat_id, hit.thread_id, hit.turn_id) == ("t-7", "t-7", "u-7")


async def test_what_is_said_in_pieces_is_one_answer(at: Reception) -> None:
    id_ = await submitted(at, "Mend it.")
    await at.workshop.start(id_)
    await at.workshop.say(id_, "The left ")
    assert await found(at, "left") == [("answer", "The left")]
    await at.workshop.say(id_, "drawer sticks.")
    assert await found(at, "left drawer", "phrase") == [("answer", "The left drawer sticks.")]


async def test_the_report_is_what_was_said_last_and_found_once(at: Reception) -> None:
    id_ = await submitted(at, "Mend it.")
    await at.workshop.start(id_)
    await at.workshop.say(id_, "The drawer sticks.", "item-1")
    await at.workshop.say(id_, "The drawer runs.", "item-2")
    assert len(await found(at, "drawer")) == 2
    await at.workshop.complete(id_, "The drawer runs.")
    assert sorted(await found(at, "drawer")) == [
        ("answer", "The drawer sticks."),
        ("report", "The drawer runs."),
    ]


async def test_a_report_that_nobody_heard_is_found_too(at: Reception) -> None:
    id_ = await submitted(at, "Mend it.")
    await at.workshop.start(id_)
    await at.workshop.complete(id_, "The drawer runs.")
    assert await found(at, "drawer") == [("report", "The drawer runs.")]


async def test_a_plan_is_a_plan_whole_and_once(at: Reception) -> None:
    id_ = await submitted(at, "Plan it.")
    await at.workshop.start(id_)
    await at.workshop.record(id_, entries=[Entry(Category.PLAN, "# Oil the ", "plan-1")])
    plan = Plan("plan-1", "# Oil the hinge")
    await at.workshop.record(id_, Completed(Report("# Oil the hinge", TurnId("u-1"), plan)))
    assert await found(at, "oil") == [("plan", "# Oil the hinge")]
    assert await found(at, "hinge") == [("plan", "# Oil the hinge")]


async def test_commands_and_what_is_done_with_a_thread_are_not_words(at: Reception) -> None:
    id_ = await submitted(at, "Mend it.")
    await at.workshop.start(id_)
    await at.workshop.note(id_, "make drawer")
    assert await found(at, "drawer") == []
    await at.workshop.complete(id_)
    await at.desk.act(ArchiveThread, "t-1")
    assert await found(at, "thread") == []


async def test_a_persons_own_turn_is_found_with_where_it_was(at: Reception) -> None:
    await typed(at, "startup", HookKind.SESSION, turn_id=None)
    await typed(at, "Why does the drawer stick?")
    await typed(at, "The drawer is swollen.", HookKind.ANSWER)
    page = await search(at, "drawer")

    assert {hit.kind for hit in page.view.results} == {"prompt", "answer"}
    for hit in page.view.results:
        assert (hit.thread_id, hit.operation_id, hit.source) == ("t-theirs", None, "hook_history")
    assert await found(at, "startup") == []


async def test_secrets_are_masked_before_they_can_be_found(at: Reception) -> None:
    secret = "sk-proj-abcdefghijklmnop1234567890"
    await submitted(at, f"Use {secret} for the till.")
    assert await found(at, "till") == [("prompt", "Use [redacted] for the till.")]
    assert await found(at, secret) == []


# --- How it is asked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "query", "hits"),
    [
        ("all", "till brass", {"The brass till.", "The till: brass, mended."}),
        ("any", "brass drawer", {"The brass till.", "The till: brass, mended.", "A drawer."}),
        ("phrase", "brass till", {"The brass till."}),
        ("phrase", "BRASS   tIlL", {"The brass till."}),
        ("all", "brass drawer", set()),
    ],
)
async def test_all_words_any_of_them_or_a_phrase(
    mode: str, query: str, hits: set[str], at: Reception
) -> None:
    for text in ("The brass till.", "The till: brass, mended.", "A drawer."):
        await typed(at, text)
    assert {snippet for _, snippet in await found(at, query, mode)} == hits


@pytest.mark.parametrize(
    "query",
    [
        'till"',
        '"till',
        '"" OR till',
        "till*",
        "till AND",
        "NOT till",
        "NEAR(till mend)",
        "text:till",
        "{text} : till",
        "^till",
        "till + mend",
        "(till",
        "till)",
        "-till",
        "till; DROP TABLE texts",
        "' OR 1=1 --",
        "words",
        "\\",
    ],
)
@pytest.mark.parametrize("mode", ["all", "any", "phrase"])
async def test_what_has_a_meaning_to_the_index_is_words(
    query: str, mode: str, at: Reception
) -> None:
    await typed(at, f"before {query} x behind")
    await typed(at, "something else")
    if any(character.isalnum() for character in query):
        assert len(await found(at, query, mode)) == 1
    else:
        with pytest.raises(InvalidArgument):
            await search(at, query, mode)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("東京都の天気を調べる", "天気"),
        ("東京都の天気を調べる", "京都"),
        ("データベースを直す", "ベース"),
        ("가게에서 서랍을 고친다", "서랍"),
        ("ลิ้นชักติดขัด", "ติด"),
        ("Die Schublade KLEMMT über Nacht", "schublade uber"),
        ("le tiroir côté gauche", "cote"),
        ("cafe\u0301 au lait", "café"),
        ("call src/app.py:parse_config()", "parse_config"),
        ("call src/app.py:parse_config()", "src/app.py"),
        ("build 4711 failed", "4711"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ],
)
async def test_words_are_found_in_every_script(text: str, query: str, at: Reception) -> None:
    await typed(at, text)
    await typed(at, "something else, 別のもの")
    assert [snippet for _, snippet in await found(at, query)] == [text.replace("e\u0301", "é")]


@pytest.mark.parametrize("query", ["", "   ", "?!", "x" * 501])
async def test_a_query_needs_a_word(query: str, at: Reception) -> None:
    with pytest.raises(InvalidArgument, match="query"):
        await search(at, query)


async def test_the_best_comes_first(at: Reception) -> None:
    await typed(at, "drawer " + "and much about other things " * 30)
    await typed(at, "The drawer of the till: a drawer.")
    await typed(at, "nothing of the kind")
    first, second = await found(at, "drawer")
    assert first[1] == "The drawer of the till: a drawer."
    assert second[1].startswith("drawer and much")
    assert second[1].endswith("…")


async def test_a_long_word_does_not_make_a_long_snippet(at: Reception) -> None:
    await typed(at, "drawer " + "x" * 50_000)
    ((_, snippet),) = await found(at, "drawer")
    assert len(snippet) == desk_search.MAX_SNIPPET_CHARS


# --- Projects ------------------------------------------------------------------------------------


async def test_only_one_project_is_searched_by_id_path_or_name(at: Reception) -> None:
    other = at.project.parent / "shop-2"
    other.mkdir()
    await submitted(at, "The drawer here.")
    await typed(at, "The drawer there.", cwd=str(other / "src"))
    for project in ("shop", str(at.project), project_id(at.project)):
        assert await found(at, "drawer", project=project) == [("prompt", "The drawer here.")]
    assert await found(at, "drawer", project="shop-2") == [("prompt", "The drawer there.")]
    assert await found(at, "shop", project="shop-2") == []


async def test_a_project_outside_the_roots_is_known_by_what_was_typed_there(
    at: Reception, tmp_path: Path
) -> None:
    outside = tmp_path.resolve() / "outside"
    outside.mkdir()
    with pytest.raises(InvalidArgument):
        await search(at, "drawer", project=str(outside))
    await typed(at, "The drawer there.", cwd=str(outside))
    for project in (str(outside), project_id(outside)):
        assert await found(at, "drawer", project=project) == [("prompt", "The drawer there.")]


@pytest.mark.parametrize("project", ["nowhere", "?", '"'])
async def test_an_unknown_project_is_said_to_be_none(project: str, at: Reception) -> None:
    with pytest.raises(ProjectNotFound):
        await search(at, "drawer", project=project)


# --- Pages ---------------------------------------------------------------------------------------


async def test_pages_follow_each_other_though_more_is_said_meanwhile(at: Reception) -> None:
    for number in range(7):
        await typed(at, f"drawer number {number}")
    seen: list[str] = []
    cursor = None
    while True:
        page = await search(at, "drawer", limit=3, cursor=cursor)
        seen += [hit.snippet for hit in page.view.results]
        cursor = page.view.next_cursor
        await typed(at, "drawer drawer drawer")
        if cursor is None:
            break
    assert sorted(seen) == [f"drawer number {number}" for number in range(7)]


async def test_a_cursor_is_for_its_query(at: Reception) -> None:
    for _ in range(3):
        await typed(at, "drawer")
    cursor = (await search(at, "drawer", limit=1)).view.next_cursor
    for query, given in (("till", cursor), ("drawer", "nonsense"), ("drawer", "W10")):
        with pytest.raises(InvalidArgument, match="cursor"):
            await search(at, query, cursor=given)


# --- The index -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_a_file")
async def test_it_is_ours_alone_and_reading_leaves_the_book_as_it_is(at: Reception) -> None:
    await submitted(at, "The drawer.")
    before = at.settings.state_db.read_bytes()
    await found(at, "drawer")
    assert at.settings.state_db.read_bytes() == before
    if os.name == "posix":
        assert at.settings.search_index.stat().st_mode & 0o777 == 0o600


async def test_another_desk_goes_on_where_the_last_one_ended(at: Reception) -> None:
    first = await submitted(at, "The drawer.")
    await found(at, "drawer")
    await at.workshop.start(first)
    await submitted(at, "Another drawer.")
    await typed(at, "A third drawer.")
    again = desk_search.Search(at.book, at.settings, threads=False)
    page = await again.find(Query("drawer"), [])
    assert len(page.view.results) == 3
    assert {hit.thread_id for hit in page.view.results} == {"t-1", None, "t-theirs"}


@pytest.mark.parametrize("content", [b"no database at all, but some text" * 100, b""])
async def test_a_file_that_is_no_index_is_made_anew(content: bytes, at: Reception) -> None:
    await submitted(at, "The drawer.")
    await found(at, "drawer")
    index.remove(at.settings.search_index)
    at.settings.search_index.write_bytes(content)
    if not content:
        await at.desk.searching.rebuild()
    assert await found(at, "drawer") == [("prompt", "The drawer.")]


async def test_an_index_of_another_edition_is_made_anew(at: Reception) -> None:
    await submitted(at, "The drawer.")
    with sqlite3.connect(at.settings.search_index) as other:
        other.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY)")
    other.close()
    assert await found(at, "drawer") == [("prompt", "The drawer.")]


async def test_it_can_be_made_anew(at: Reception) -> None:
    await submitted(at, "The drawer.")
    await typed(at, "A drawer.")
    await found(at, "drawer")
    assert await at.desk.searching.rebuild() == 2
    assert len(await found(at, "drawer")) == 2


@pytest.mark.usefixtures("in_a_file")
async def test_an_older_book_put_in_its_place_is_believed(at: Reception) -> None:
    first = await submitted(at, "The drawer.")
    await at.workshop.start(first)
    await submitted(at, "Another drawer.")
    await typed(at, "A third drawer.")
    await found(at, "drawer")
    with sqlite3.connect(at.settings.state_db) as restored:
        restored.execute("DELETE FROM hook_history")
        restored.execute("DELETE FROM journal WHERE operation_id <> ? OR seq > 1", (first,))
        restored.execute("DELETE FROM operations WHERE id <> ?", (first,))
        restored.execute(
            "UPDATE operations SET last_seq = 1, status_seq = 1, status = 'queued',"
            " thread_id = NULL, turn_id = NULL, started_at = NULL"
        )
    restored.close()
    again = desk_search.Search(at.book, at.settings, threads=False)
    (hit,) = (await again.find(Query("drawer"), [])).view.results
    assert (hit.operation_id, hit.thread_id) == (first, None)


async def test_a_disk_that_does_not_let_it_be_is_named(at: Reception, tmp_path: Path) -> None:
    nowhere = replace(at.settings, state_db=tmp_path / "no" / "folder")
    searching = desk_search.Search(at.book, nowhere, threads=False)
    with pytest.raises(StateBusy, match="search index"):
        await searching.find(Query("drawer"), [])


async def test_while_it_is_being_made_the_answer_says_so(at: Reception) -> None:
    await submitted(at, "The drawer.")
    searching = at.desk.searching
    async with anyio.create_task_group() as tasks:
        # Somebody else is at it, for longer than a caller waits.
        await tasks.start(held, searching._pen)
        page = await searching.find(Query("drawer"), [])
        tasks.cancel_scope.cancel()
    assert (page.view.complete, page.view.results) == (False, ())
    page = await searching.find(Query("drawer"), [])
    assert (page.view.complete, len(page.view.results)) == (True, 1)


async def held(pen: anyio.Lock, *, task_status: TaskStatus[None]) -> None:
    async with pen:
        task_status.started()
        await anyio.sleep_forever()


async def test_it_keeps_up_when_nobody_searches(at: Reception) -> None:
    await submitted(at, "The drawer.")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(at.desk.searching.keep_up)
        await anyio.sleep(1)
        await submitted(at, "Another drawer.")
        await anyio.sleep(desk_search.KEEP_UP_SECONDS)
        tasks.cancel_scope.cancel()
    with index.opened(at.settings.search_index) as opened:
        assert index.count(opened) == 2


async def test_it_goes_on_keeping_up_after_what_a_person_can_mend(
    at: Reception, tmp_path: Path
) -> None:
    registry = tmp_path / "registry.json"
    registry.write_text("{")
    await typed(at, "The drawer.")
    broken = replace(at.settings, projects_registry=registry)
    searching = desk_search.Search(at.book, broken, threads=False)
    with pytest.raises(InvalidArgument, match="registry"):
        await searching.find(Query("drawer"), [])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(searching.keep_up)
        await anyio.sleep(1)
        registry.write_text("{}")
        await anyio.sleep(desk_search.KEEP_UP_SECONDS)
        tasks.cancel_scope.cancel()
    with index.opened(at.settings.search_index) as opened:
        assert index.count(opened) == 1


async def test_many_are_taken_in_in_parts(at: Reception) -> None:
    for number in range(desk_search.AT_ONCE + 3):
        await typed(at, f"drawer {number}")
    assert len(await found(at, f"{desk_search.AT_ONCE + 2}")) == 1
