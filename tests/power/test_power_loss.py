"""Power loss at every moment of a recorded life: what was promised is there (I1 to I4, I8; F17).

The life is the real desk, workshop and store at work over a Codex of the tests (`life`). strace
records what it wrote and synced (`recording`); `disk` says what of that may be left at each moment;
each such state is opened with the real store and held against what had been said (`promises`).
"""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from tests.power import life
from tests.power.conftest import Recording
from tests.power.losses import ONLY_SYNCED, Drawn, Loss, draw, losses
from tests.power.promises import Breach, check
from tests.power.recording import Event, FolderSynced, Marked, Named, Synced, Wrote

#: How many power losses are looked at; any number that is large enough means all of them.
STATES: Final = int(os.environ.get("POWER_LOSS_STATES", "1200"))
SEED: Final = 20260131
#: Breaches that a failing test shows.
SHOWN: Final = 5


def breaches(
    recording: Recording, events: Sequence[Event], drawn: Drawn, folder: Path
) -> Iterator[tuple[Loss, list[Breach]]]:
    """Every power loss that was drawn, with what it broke."""
    went_on: set[int] = set()
    for loss in losses(events, recording.snapshots, drawn, recording.stale_index):
        shutil.rmtree(folder)
        folder.mkdir(0o700)
        for name, content in loss.left.items():
            (folder / name).write_bytes(content)
        # From equal contents the next generation goes on in the same way: once a moment is enough.
        is_new = loss.promised.commits not in went_on
        went_on.add(loss.promised.commits)
        yield loss, check(folder / life.STATE_FILE, loss.promised, go_on=is_new)


def test_what_was_promised_before_a_power_loss_is_there_after_it(
    as_it_is: Recording,
    after_power_loss: Path,
    record_property: Callable[[str, object], None],
) -> None:
    drawn = draw(as_it_is.events, STATES, SEED)
    looked_at, broken = 0, []
    for loss, broke in breaches(as_it_is, as_it_is.events, drawn, after_power_loss):
        looked_at += 1
        broken += [(loss.name, broke)] * bool(broke)
    record_property("power_losses_looked_at", looked_at)
    record_property("power_losses_drawn", len(drawn.places))
    record_property("power_losses_possible", drawn.possible)
    # Shown by `pytest -s`.
    figures = f"{looked_at} different states, of {len(drawn.places)} drawn from {drawn.possible}"
    print(figures)  # noqa: T201
    assert broken[:SHOWN] == []
    assert looked_at > len(drawn.places) / 4


def test_the_recorded_life_has_all_that_a_long_one_has(as_it_is: Recording) -> None:
    """Its log is folded into the file again and again, is begun anew, is deleted and made again;
    it promises everything that a life can promise."""
    events = as_it_is.events
    logs = [one for one in events if isinstance(one, Named) and one.name.endswith("-wal")]
    assert sum(one.file is not None for one in logs) >= 2
    assert sum(one.file is None for one in logs) >= 2
    (book,) = [one for one in events if isinstance(one, Named) and one.name == life.STATE_FILE]
    assert sum(isinstance(one, Synced) and one.file == book.file for one in events) >= 10
    said = {json.loads(event.text)[0] for event in events if isinstance(event, Marked)}
    assert said >= {"committed", "accepted", "told", "asking", "answering", "answered"}
    assert said >= {"interrupting", "cancelled"}
    assert {row["generation"] for row in as_it_is.snapshots[-1]["workers"]} == {1, 2, 3, 4}


def test_a_power_loss_while_the_book_is_made_leaves_one_that_can_be_made(
    as_it_is: Recording, after_power_loss: Path
) -> None:
    made = next(number for number, event in enumerate(as_it_is.events) if isinstance(event, Marked))
    making = as_it_is.events[:made]
    assert any(isinstance(event, FolderSynced) for event in making)
    drawn = draw(making, STATES // 4, SEED)
    every = list(breaches(as_it_is, making, drawn, after_power_loss))
    assert [(loss.name, broke) for loss, broke in every if broke][:SHOWN] == []
    assert len(every) > 50


# --- Controls: a check that cannot fail is none ---------------------------------------------------


def first_breach(recording: Recording, events: Sequence[Event], folder: Path) -> list[Breach]:
    """What the first power loss broke that broke anything, of those right after a promise."""
    promises = [number for number, event in enumerate(events) if isinstance(event, Marked)]
    least = Drawn(frozenset((number, ONLY_SYNCED) for number in promises), len(promises))
    found = (broke for _, broke in breaches(recording, events, least, folder) if broke)
    return next(islice(found, 1), [])


def test_a_commit_that_does_not_wait_for_the_disk_is_caught(
    recorded: Callable[[str], Recording], after_power_loss: Path
) -> None:
    """`synchronous=NORMAL`, one word beside what the store says, loses acknowledged tasks."""
    recording = recorded("NORMAL")
    broke = first_breach(recording, recording.events, after_power_loss)
    assert "I2" in {breach.promise for breach in broke}


Careless: TypeAlias = Callable[[Sequence[Event]], Iterator[Event]]


def without_syncs_of(suffix: str, *, from_the_first_mark: bool = False) -> Careless:
    """As if a file whose name ends so were never synced; or no more, once somebody relies on it."""

    def careless(events: Sequence[Event]) -> Iterator[Event]:
        files = {
            event.file
            for event in events
            if isinstance(event, Named) and event.name.endswith(suffix)
        }
        spared = from_the_first_mark
        for event in events:
            spared = spared and not isinstance(event, Marked)
            if spared or not (isinstance(event, Synced) and event.file in files):
                yield event

    return careless


def without_syncs_of_the_folder(events: Sequence[Event]) -> Iterator[Event]:
    return (event for event in events if not isinstance(event, FolderSynced))


def syncs_of_the_log(events: Sequence[Event]) -> list[int]:
    """Where the log is synced after it was written: at each commit, and when it is begun."""
    logs = {one.file for one in events if isinstance(one, Named) and one.name.endswith("-wal")}
    return [
        at
        for at, (before, event) in enumerate(pairwise(events), 1)
        if isinstance(before, Wrote) and event == Synced(before.file) and before.file in logs
    ]


def said_early(what: str, *, commits: int = 1) -> Careless:
    """As if something were said when so many commits before it were not synced yet."""

    def careless(events: Sequence[Event]) -> Iterator[Event]:
        synced, early = syncs_of_the_log(events), defaultdict[int, list[Event]](list)
        for number, event in enumerate(events):
            if isinstance(event, Marked) and json.loads(event.text)[0] == what:
                early[[at for at in synced if at < number][-commits]].append(event)
        for number, event in enumerate(events):
            yield from early[number]
            if not any(event is one for many in early.values() for one in many):
                yield event

    return careless


@pytest.mark.parametrize(
    ("careless", "promise"),
    [
        pytest.param(without_syncs_of("-wal"), "I2", id="the log is not synced"),
        pytest.param(
            without_syncs_of(life.STATE_FILE, from_the_first_mark=True),
            "I2",
            id="the file is not synced when the log is folded into it",
        ),
        pytest.param(without_syncs_of_the_folder, "I2", id="the folder is not synced"),
        pytest.param(said_early("committed"), "I2", id="a commit returns before it is synced"),
        pytest.param(
            said_early("accepted", commits=4), "I2", id="a task is accepted before it is synced"
        ),
        pytest.param(said_early("told"), "I2", id="a client is told before it is synced"),
        pytest.param(said_early("asking"), "I1", id="Codex is asked before the intent is synced"),
        pytest.param(
            said_early("answering"), "I4", id="Codex is answered before that is on record"
        ),
        pytest.param(
            said_early("interrupting"), "I4", id="a turn is interrupted before the wish is synced"
        ),
    ],
)
def test_carelessness_is_caught(
    as_it_is: Recording, after_power_loss: Path, careless: Careless, promise: str
) -> None:
    broke = first_breach(as_it_is, list(careless(as_it_is.events)), after_power_loss)
    assert promise in {breach.promise for breach in broke}
