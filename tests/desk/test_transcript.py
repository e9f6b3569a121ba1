"""A chat in pages: whatever is in it, however it is read, nothing is lost and nothing twice."""

from __future__ import annotations

import json

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from codex_control_plane_mcp.desk import transcript
from codex_control_plane_mcp.desk.transcript import Bookmark, Page, Portion, bookmark, page_of
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.transcript import SPOKEN, Entry, Role
from tests.desk.shelves import Shelf, said

CHAT = ThreadId("t-1")
EVERYTHING = Portion(with_tools=True)

# Some messages are longer than a page; quotes, line ends and other planes weigh more than they are
# long.
_texts = st.builds(
    lambda unit, times: unit * times,
    st.sampled_from(["word ", '"\n', "größer ", "\U0001f600", "\x01", "x"]),
    st.one_of(st.integers(1, 200), st.integers(1, 6_000)),
)
_entries = st.lists(
    st.tuples(_texts, st.sampled_from(list(Role)), st.integers(0, 3)), max_size=25
).map(
    lambda told: [
        said(number, text, role, f"u-{sum(step for _, _, step in told[: number + 1])}")
        for number, (text, role, _) in enumerate(told)
    ]
)
_shelves = st.builds(Shelf, _entries, st.integers(1, 9), st.booleans())


def joined(pages: list[Page]) -> list[tuple[str, str]]:
    """Every message, put together from its parts, in the order in which they come."""
    whole: list[tuple[str, str]] = []
    for part in (part for page in pages for part in page.parts):
        if whole and whole[-1][0] == part.entry.id:
            assert part.offset == len(whole[-1][1])
            whole[-1] = (part.entry.id, whole[-1][1] + part.text)
        else:
            assert part.offset == 0
            whole.append((part.entry.id, part.text))
    return whole


def everything(entries: list[Entry]) -> list[tuple[str, str]]:
    return [(entry.id, entry.text) for entry in entries]


async def read(
    shelf: Shelf, start: Bookmark | None, portion: Portion = EVERYTHING, *, back: bool
) -> list[Page]:
    """All the pages in one direction, each asked for with the cursor of the one before."""
    pages = [await page_of(shelf, start.place if start else None, portion, back=back)]
    while (onwards := pages[-1].onwards) is not None:
        again = bookmark(onwards.cursor(CHAT), CHAT)
        assert again == onwards
        assert again.back == back
        pages.append(await page_of(shelf, again.place, portion, back=back))
    return pages


@given(_shelves)
@settings(deadline=None, max_examples=40)
def test_all_pages_onwards_are_the_chat_and_so_are_all_pages_back(shelf: Shelf) -> None:
    onwards = trio.run(lambda: read(shelf, None, back=False))
    back = trio.run(lambda: read(shelf, None, back=True))

    assert joined(onwards) == everything(shelf.entries)
    assert joined(back[::-1]) == everything(shelf.entries)
    for page in (*onwards, *back):
        weight = sum(len(json.dumps(part.text, ensure_ascii=False)) for part in page.parts)
        assert weight <= transcript.PAGE_WEIGHT
        assert page.parts or not shelf.entries


@given(_shelves, st.data())
@settings(deadline=None, max_examples=40)
def test_from_any_page_one_can_turn_round_and_miss_nothing(
    shelf: Shelf, data: st.DataObject
) -> None:
    back = trio.run(lambda: read(shelf, None, back=True))
    index = data.draw(st.integers(0, len(back) - 1))
    later = back[index].later
    if later is None:
        assert shelf.entries == []
        return
    newer = trio.run(lambda: read(shelf, later, back=False))

    assert joined([*reversed(back[index:]), *newer]) == everything(shelf.entries)


@given(_shelves, _entries)
@settings(deadline=None, max_examples=40)
def test_what_is_said_later_is_all_that_comes_later(shelf: Shelf, more: list[Entry]) -> None:
    newest = trio.run(lambda: page_of(shelf, None, EVERYTHING, back=True))
    if newest.later is None:
        return
    count = len(shelf.entries)
    shelf.entries += [
        said(count + number, entry.text, entry.role, f"later-{entry.turn_id}")
        for number, entry in enumerate(more)
    ]
    news = trio.run(lambda: read(shelf, newest.later, back=False))

    assert joined(news) == everything(shelf.entries[count:])


@given(_shelves, st.integers(1, 4), st.booleans())
@settings(deadline=None, max_examples=40)
def test_a_page_has_no_more_messages_or_turns_than_were_asked_for(
    shelf: Shelf, most: int, back: bool
) -> None:
    for portion in (Portion(messages=most), Portion(turns=most, with_tools=True)):
        pages = trio.run(lambda portion=portion: read(shelf, None, portion, back=back))  # type: ignore[misc]
        for page in pages:
            if portion.messages is not None:
                assert len(page.parts) <= most
            else:
                assert len({part.entry.turn_id for part in page.parts}) <= most
        wanted = [entry for entry in shelf.entries if portion.with_tools or entry.role in SPOKEN]
        assert joined(pages[::-1] if back else pages) == everything(wanted)


async def test_a_secret_is_masked_before_it_is_cut() -> None:
    secret = "sk-" + "a1B2" * 10
    filler = "x " * 3_390
    shelf = Shelf([said(0, f"{filler}{secret} {filler}")])

    pages = await read(shelf, None, back=False)

    assert len(pages) > 1
    text = "".join(part.text for page in pages for part in page.parts)
    assert text == f"{filler}[redacted] {filler}"


async def test_an_answer_that_still_grows_is_read_on_where_it_was_left() -> None:
    shelf = Shelf([said(0, "Hello")])
    before = await page_of(shelf, None, EVERYTHING, back=True)
    shelf.entries[0] = said(0, "Hello, world")
    assert before.later is not None

    after = await page_of(shelf, before.later.place, EVERYTHING, back=False)

    assert [(part.offset, part.text) for part in after.parts] == [(5, ", world")]


async def test_pictures_without_words_are_a_message_too() -> None:
    picture = Entry("item-0", None, Role.USER, "", attachment_count=1)
    shelf = Shelf([picture, said(1, "Nice.")])

    pages = await read(shelf, None, Portion(messages=1), back=False)

    assert [part.entry.id for page in pages for part in page.parts] == ["item-0", "item-1"]


async def test_a_long_row_of_commands_is_passed_over_page_by_page() -> None:
    tools = [said(number, "$ ls", Role.TOOL) for number in range(2 * transcript.MOST_ENTRIES)]
    shelf = Shelf([said(-1, "Look."), *tools], size=100)

    pages = await read(shelf, None, Portion(), back=True)

    assert joined(pages[::-1]) == [("item--1", "Look.")]
    assert len(pages) == 3


@pytest.mark.parametrize("cursor", ["", "x", "größer", "AAAA", "=" * 10_000])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidArgument, match="cursor"):
        bookmark(cursor, CHAT)


async def test_a_cursor_is_short_and_only_good_for_its_own_chat() -> None:
    shelf = Shelf([said(number, "word " * 500) for number in range(9)])
    page = await page_of(shelf, None, EVERYTHING, back=True)
    assert page.onwards is not None
    cursor = page.onwards.cursor(CHAT)

    assert len(cursor) < 100
    with pytest.raises(InvalidArgument, match="cursor"):
        bookmark(cursor, ThreadId("t-2"))
    for other in (cursor[:-6], cursor[4:], cursor.swapcase()):
        with pytest.raises(InvalidArgument, match="cursor"):
            bookmark(other, CHAT)
