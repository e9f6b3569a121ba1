"""Search: codex_search_chats over 100,000 messages, and how soon a person's words are found.

The messages are what hooks told: 10 to 110 words each, drawn as words are in a language (the second
most frequent half as often as the first, and so on), in a hundred projects. The first look at them
makes the index.
"""

import itertools
import json
import random
import time
from collections.abc import Iterator, Mapping

from sqlalchemy import insert

from benchmarks.client import Client
from benchmarks.figures import Aim, Figure, spread
from benchmarks.hook import TOLD
from benchmarks.installation import Installation
from benchmarks.stage import Rounds, Stage, stage
from codex_control_plane_mcp.journal_hook import spool_of
from codex_control_plane_mcp.paths import make_private_folder, replace_file
from codex_control_plane_mcp.store.book import Writing, opened
from codex_control_plane_mcp.store.schema import hook_history

PROJECTS = 100
AT_ONCE = 5000
VOCABULARY = tuple(f"{a}{b}" for a in "bdfgklmnprst" for b in range(1700))
#: By how frequent they are.
_RARE, _FREQUENT, _MOST_FREQUENT = VOCABULARY[15_000], VOCABULARY[200], VOCABULARY[:3]

QUERIES: Mapping[str, Mapping[str, str]] = {
    "a rare word": {"query": _RARE},
    "a frequent word": {"query": _FREQUENT},
    "a frequent word, in one project": {"query": _FREQUENT, "project_id": "p7"},
    "the most frequent word, in nearly all": {"query": _MOST_FREQUENT[0]},
    "the three most frequent, all of them": {"query": " ".join(_MOST_FREQUENT)},
    "the three most frequent, any": {"query": " ".join(_MOST_FREQUENT), "match_mode": "any"},
    "the two most frequent, as a phrase": {
        "query": " ".join(_MOST_FREQUENT[:2]),
        "match_mode": "phrase",
    },
}


def measure(installation: Installation, rounds: Rounds) -> Iterator[Figure]:
    messages = rounds.of(100_000, 5_000)
    with stage(installation) as place:
        for number in range(PROJECTS):
            (place.folder / f"p{number}").mkdir()
        make_private_folder(str(place.state_db.parent))
        _fill(place, messages)
        with place.client() as client:
            yield _made(place, client, messages)
            for what, arguments in QUERIES.items():
                yield _asked(client, what, arguments, rounds.of(50, 10))
            yield _soon(place, client, rounds.of(20, 5))


def _fill(place: Stage, messages: int) -> None:
    """A book in which people have typed so much."""
    chance = random.Random(1)  # noqa: S311  # the same words each time
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(VOCABULARY) + 1)))

    def row(number: int) -> dict[str, object]:
        words = chance.choices(VOCABULARY, cum_weights=weights, k=chance.randint(10, 110))
        return {
            "seq": number + 1,
            "event_id": str(number),
            "kind": "answer" if number % 2 else "prompt",
            "at": 1_800_000_000_000 + number,
            "thread_id": f"t-{number // 20}",
            "turn_id": f"u-{number // 2}",
            "cwd": str(place.folder / f"p{number % PROJECTS}"),
            "model": "scripted",
            "text": " ".join(words),
        }

    with opened(place.state_db) as book:
        for first in range(0, messages, AT_ONCE):
            rows = [row(number) for number in range(first, min(first + AT_ONCE, messages))]

            def write(writing: Writing, rows: list[dict[str, object]] = rows) -> None:
                writing.connection.execute(insert(hook_history), rows)

            book.write_now(write)


def _made(place: Stage, client: Client, messages: int) -> Figure:
    began = time.perf_counter()
    while not client.call("codex_search_chats", query=_RARE).content["complete"]:
        pass
    seconds = time.perf_counter() - began
    book = place.state_db.stat().st_size / 1e6
    index = place.state_db.with_name(f"{place.state_db.name}.search").stat().st_size / 1e6
    return Figure(
        what=f"search index of {messages:,} messages, made",
        unit="s",
        ours=spread([seconds]),
        note=f"{index:.0f} MB beside a book of {book:.0f} MB",
    )


def _asked(client: Client, what: str, arguments: Mapping[str, str], count: int) -> Figure:
    client.call("codex_search_chats", **arguments)
    answers = [client.call("codex_search_chats", **arguments) for _ in range(count)]
    return Figure(
        what=f"search, {what}",
        unit="ms",
        ours=spread(answer.seconds * 1000 for answer in answers),
        aim=Aim(limit=50),
    )


def _soon(place: Stage, client: Client, count: int) -> Figure:
    """From the end of the hook to the answer that has it, asked again and again."""
    waits = []
    for number in range(count):
        word = f"neverbefore{number}"
        told = json.loads(TOLD) | {"last_assistant_message": word, "cwd": str(place.project)}
        name = f"{spool_of(str(place.state_db))}/{time.time_ns():020d}-{number:08x}.json"
        make_private_folder(spool_of(str(place.state_db)))
        replace_file(name, json.dumps(told).encode())
        began = time.perf_counter()
        while not client.call("codex_search_chats", query=word).content["results"]:
            time.sleep(0.01)
        waits.append((time.perf_counter() - began) * 1000)
    return Figure(
        what="hook → found",
        unit="ms",
        ours=spread(waits),
        aim=Aim(limit=1000),
        judged=max(waits),
        note="the longest is held against the aim",
    )
