"""A chat in pages: from its end back, or from its beginning on, each as much as an answer holds.

Nothing is lost between two pages. A message that is too long for what is left of a page is cut, and
the next page goes on within it. Where that is, is a `Place`; whoever has one can go on from it in
either direction, also when more has been said meanwhile. What the chat is read from, Codex, our own
book or an old history, is a `Record`.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final, Protocol

from codex_control_plane_mcp.desk.cursors import bad_cursor, packed, unpacked
from codex_control_plane_mcp.desk.texts import longest_end, longest_start, weight
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.transcript import SPOKEN, Entry, Leaf, Role
from codex_control_plane_mcp.redact import redact

#: What the messages of a page may weigh. The rest of an answer is for what is said about them.
PAGE_WEIGHT: Final = 7_000
#: A message gets no less than this of a page, or it begins on the next one.
LEAST_PART: Final = 800
#: A plan is named once more, with its hash.
PLAN_MENTION: Final = 120
#: So much is looked through for one page, where most of it is not to be shown.
MOST_ENTRIES: Final = 2_000


class Record(Protocol):
    """Where a chat is read from."""

    #: Its public name.
    source: str

    async def leaf(self, anchor: str | None, *, back: bool) -> Leaf:
        """The leaf at `anchor`; without one the first, or the last when read `back`wards."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Between two characters of a chat: within the leaf that was read from `anchor` on (`back`:
    backwards), in its entry number `index`, behind the first `offset` characters."""

    anchor: str
    back: bool
    index: int
    offset: int


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A place in a record, and where to read on from it: what a cursor stands for."""

    source: str
    place: Place
    back: bool

    def cursor(self, chat_id: ThreadId) -> str:
        place = self.place
        return packed(
            [self.source, place.anchor, place.back, place.index, place.offset, self.back], chat_id
        )


@dataclass(frozen=True, slots=True)
class Portion:
    """How much of a chat to show at once. Its length ends a page before these do."""

    messages: int | None = None
    turns: int | None = None
    with_tools: bool = False
    #: What a message weighs beside its text and its names.
    frame: int = 170
    #: Whether the names of messages and turns are shown.
    named: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """A message, or a part of one: that from its character `offset` on."""

    entry: Entry
    text: str
    offset: int

    @property
    def is_whole(self) -> bool:
        return len(self.text) == len(self.entry.text)


@dataclass(frozen=True, slots=True)
class Page:
    #: In the order in which they were said.
    parts: Sequence[Part]
    has_more_before: bool
    has_more_after: bool
    #: Where to go on in the same direction; None when there is nothing more.
    onwards: Bookmark | None
    #: Where what is said later will begin.
    later: Bookmark | None


def bookmark(cursor: str, chat_id: ThreadId) -> Bookmark:
    """Raises InvalidArgument for what is no cursor of this chat."""
    match unpacked(cursor, chat_id):
        case [str(source), str(anchor), bool(leaf_back), int(index), int(offset), bool(back)] if (
            index >= 0 and offset >= 0
        ):
            return Bookmark(source, Place(anchor, leaf_back, index, offset), back)
        case _:
            raise bad_cursor()


async def page_of(record: Record, start: Place | None, portion: Portion, *, back: bool) -> Page:
    """The page that begins at `start`, or else at the beginning, or at the end if read
    `back`wards."""
    parts: list[Part] = []
    room, seen, more = PAGE_WEIGHT, 0, False
    newest, end = start if back else None, start
    async with aclosing(_walk(record, start, back=back)) as stretches:
        async for stretch in stretches:
            newest = newest or stretch.at(stretch.last)
            done = stretch.first if back else stretch.last
            if _is_wanted(stretch.entry, portion):
                part = _next_part(parts, stretch, room, portion, back=back)
                if part is None:
                    more = True
                    break
                parts.append(part)
                room -= _weight(part, portion)
                more = len(part.text) < stretch.last - stretch.first
                done = part.offset if back else part.offset + len(part.text)
            end = stretch.at(done)
            seen += 1
            more = more or seen == MOST_ENTRIES
            if more:
                break
    later = newest if back else end
    return Page(
        parts=parts[::-1] if back else parts,
        has_more_before=more if back else start is not None,
        has_more_after=start is not None if back else more,
        onwards=Bookmark(record.source, end, back) if more and end is not None else None,
        later=None if later is None else Bookmark(record.source, later, back=False),
    )


# --- Through a record ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Characters `first` to `last` of an entry: what is still to be read of it."""

    #: Where the entry is; its offset means nothing.
    place: Place
    entry: Entry
    first: int
    last: int

    def at(self, offset: int) -> Place:
        return replace(self.place, offset=offset)


async def _walk(record: Record, start: Place | None, *, back: bool) -> AsyncGenerator[_Stretch]:
    """Whatever stands beyond `start`. Secrets are masked by now, so that none is cut in two and
    seen by halves."""
    anchor, skip = None, 0
    if start is not None:
        leaf = await record.leaf(start.anchor, back=start.back)
        for stretch in _beyond(start, leaf, back=back):
            yield stretch
        if start.back == back:
            anchor = leaf.next
            if anchor is None:
                return
        else:
            anchor, skip = start.anchor, leaf.shared
    while True:
        leaf = await record.leaf(anchor, back=back)
        if leaf.anchor is not None:
            index = len(leaf.entries) - 1 - skip if back else skip
            for stretch in _stretches(leaf, Place(leaf.anchor, back, index, 0), back=back):
                yield stretch
        if leaf.next is None:
            return
        anchor, skip = leaf.next, 0


def _beyond(start: Place, leaf: Leaf, *, back: bool) -> Iterator[_Stretch]:
    """What lies beyond `start` in its own leaf."""
    for stretch in _stretches(leaf, start, back=back):
        if stretch.place.index != start.index:
            yield stretch
        elif back and start.offset > 0:
            yield replace(stretch, last=min(start.offset, stretch.last))
        elif not back and start.offset < stretch.last:
            yield replace(stretch, first=start.offset)


def _stretches(leaf: Leaf, start: Place, *, back: bool) -> Iterator[_Stretch]:
    """The entry at `start`, and those beyond it, each as a whole."""
    last = len(leaf.entries) - 1
    indexes = range(min(start.index, last), -1, -1) if back else range(start.index, last + 1)
    for index in indexes:
        entry = leaf.entries[index]
        entry = replace(entry, text=redact(entry.text))
        yield _Stretch(replace(start, index=index, offset=0), entry, 0, len(entry.text))


# --- Onto a page ---------------------------------------------------------------------------------


def _is_wanted(entry: Entry, portion: Portion) -> bool:
    return (portion.with_tools or entry.role in SPOKEN) and bool(
        entry.text or entry.attachment_count
    )


def _next_part(
    parts: Sequence[Part], stretch: _Stretch, room: int, portion: Portion, *, back: bool
) -> Part | None:
    """As much of `stretch` as the page still takes; None when that is nothing, or hardly worth
    it."""
    if _is_enough(parts, stretch.entry, portion):
        return None
    whole = Part(stretch.entry, stretch.entry.text[stretch.first : stretch.last], stretch.first)
    spare = room - _weight(replace(whole, text=""), portion)
    if weight(whole.text) <= spare:
        return whole
    if spare < LEAST_PART:
        if parts:
            return None
        spare = LEAST_PART
    if back:
        text = longest_end(whole.text, spare)
        return Part(stretch.entry, text, stretch.last - len(text))
    return Part(stretch.entry, longest_start(whole.text, spare), stretch.first)


def _is_enough(parts: Sequence[Part], entry: Entry, portion: Portion) -> bool:
    """Whether there are as many as were asked for, so that `entry` is for another page."""
    if portion.messages is not None and len(parts) >= portion.messages:
        return True
    turns = {part.entry.turn_id for part in parts}
    return portion.turns is not None and len(turns | {entry.turn_id}) > portion.turns


def _weight(part: Part, portion: Portion) -> int:
    names = len(part.entry.id) + len(part.entry.turn_id or "")
    mention = names + PLAN_MENTION if part.entry.role is Role.PLAN else 0
    return portion.frame + (names if portion.named else 0) + mention + weight(part.text)
