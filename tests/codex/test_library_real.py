"""Reading threads on the real binary: by items, by turns, from either end, also archived ones."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_control_plane_mcp.codex import errors
from codex_control_plane_mcp.codex.library import CodexLibrary
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words import verbs
from codex_control_plane_mcp.desk.transcript import Page, Portion, page_of
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.transcript import Entry, Leaf
from tests.codex.actors import NewSupervisor, ask, new_thread
from tests.codex.test_session_real import UNKNOWN, play

pytestmark = [pytest.mark.real]


class WithoutItems(CodexLibrary):
    """As with a Codex, or a thread of one, that lists turns only."""

    async def _items(self, thread_id: ThreadId, cursor: str | None, *, back: bool) -> Leaf:
        raise errors.HistoryNotReady(-32601, "thread/items/list is not supported yet")


class Record:
    source = "app_server"

    def __init__(self, library: CodexLibrary, thread_id: ThreadId) -> None:
        self.library, self.thread_id = library, thread_id

    async def leaf(self, anchor: str | None, *, back: bool) -> Leaf:
        return await self.library.leaf(self.thread_id, anchor, back=back)


@pytest.fixture
async def session(new_supervisor: NewSupervisor) -> AsyncIterator[CodexSession]:
    async with new_supervisor().connect() as session:
        yield session


@pytest.fixture
async def chat(session: CodexSession, project: Path) -> ThreadId:
    """Three turns, together longer than a page of Codex's."""
    thread_id = await new_thread(session, project)
    for turn in range(3):
        prompt = "\n".join(f"say {number} of turn {turn}" for number in range(60))
        await play(session, ask(thread_id, prompt))
    return thread_id


async def read(record: Record, *, back: bool) -> list[Page]:
    pages = [await page_of(record, None, Portion(with_tools=True), back=back)]
    while (onwards := pages[-1].onwards) is not None:
        pages.append(await page_of(record, onwards.place, Portion(with_tools=True), back=back))
    return pages


def entries(pages: list[Page]) -> list[Entry]:
    return [part.entry for page in pages for part in page.parts]


@pytest.mark.parametrize("kind", [CodexLibrary, WithoutItems])
async def test_a_thread_is_read_whole_from_either_end(
    session: CodexSession, chat: ThreadId, kind: type[CodexLibrary]
) -> None:
    stored = (await session.list_turns(verbs.ListTurns(chat, items_view="full"))).data
    expected = [item.id for turn in reversed(stored) for item in turn.items]
    assert len(expected) == 3 * 61
    record = Record(kind(session), chat)

    onwards, back = await read(record, back=False), await read(record, back=True)

    assert [entry.id for entry in entries(onwards)] == expected
    assert [entry.id for entry in entries(back[::-1])] == expected
    middle = back[len(back) // 2].later
    assert middle is not None
    rest = await page_of(record, middle.place, Portion(messages=1), back=False)
    shown = {entry.id for page in back[: len(back) // 2] for entry in entries([page])}
    assert rest.parts[0].entry.id in shown


async def test_what_is_said_later_comes_behind_what_was_the_end(
    session: CodexSession, project: Path
) -> None:
    thread_id = await new_thread(session, project)
    await play(session, ask(thread_id, "say One."))
    for kind in (CodexLibrary, WithoutItems):
        record = Record(kind(session), thread_id)
        newest = await page_of(record, None, Portion(), back=True)
        assert newest.later is not None
        assert (await page_of(record, newest.later.place, Portion(), back=False)).parts == []
        await play(session, ask(thread_id, "say Two."))
        news = await page_of(record, newest.later.place, Portion(), back=False)
        assert [part.text for part in news.parts] == ["say Two.", "Two."]


async def test_an_archived_thread_says_so_and_can_be_read(
    session: CodexSession, project: Path
) -> None:
    library = CodexLibrary(session)
    thread_id = await new_thread(session, project)
    await play(session, ask(thread_id, "say Kept."))
    assert not (await library.thread(thread_id)).is_archived
    await session.archive_thread(thread_id)

    assert (await library.thread(thread_id)).is_archived
    leaf = await library.leaf(thread_id, None, back=False)
    assert [entry.text for entry in leaf.entries] == ["say Kept.", "Kept."]
    assert [one.id for one in (await library.threads(archived=True, cursor=None)).data] == [
        thread_id
    ]
    assert (await library.threads(archived=False, cursor=None)).data == ()


async def test_a_thread_that_runs_is_loaded_and_one_that_is_unknown_is_not_found(
    session: CodexSession, project: Path
) -> None:
    library = CodexLibrary(session)
    thread_id = await new_thread(session, project)
    assert thread_id in await library.loaded()
    with pytest.raises(errors.ThreadNotFound):
        await library.thread(UNKNOWN)
    with pytest.raises(errors.NotSupported):  # nothing was said in it yet
        await library.leaf(thread_id, None, back=True)


async def test_threads_of_another_provider_are_listed_too(
    session: CodexSession, new_supervisor: NewSupervisor, codex_home: Path, project: Path
) -> None:
    thread_id = await new_thread(session, project)
    await play(session, ask(thread_id, "say Kept."))
    config = codex_home / "config.toml"
    renamed = config.read_text().replace("[model_providers.scripted]", "[model_providers.other]")
    config.write_text(renamed.replace('model_provider = "scripted"', 'model_provider = "other"'))
    async with new_supervisor("stdio").connect() as later:
        (found,) = (await CodexLibrary(later).threads(archived=False, cursor=None)).data
    assert (found.id, found.model_provider) == (thread_id, "scripted")
