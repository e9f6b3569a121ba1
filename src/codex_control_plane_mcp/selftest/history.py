"""What must be true of every history, whatever went wrong in it (I1 to I8).

The witnesses are the book and Codex's own record; what a client was told is held against both.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from codex_control_plane_mcp.model.ids import NOBODY, Generation, OperationId
from codex_control_plane_mcp.model.interaction import Interaction, InteractionStatus
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.model.request import (
    ArchiveThread,
    CompactThread,
    ForkThread,
    UnarchiveThread,
)
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.store import interactions, journal, lookup, wishes
from codex_control_plane_mcp.store.book import Book, Reading
from codex_control_plane_mcp.store.interactions import Search
from codex_control_plane_mcp.work.kinds import Compaction

PROMISES = {
    "I1": "one operation asks the model at most once",
    "I2": "what was acknowledged is there, and is one operation for one key",
    "I3": "a final state never changes",
    "I4": "an answer on record is the one that Codex got",
    "I5": "nothing is left open or unfinished",
    "I6": "a report equals Codex's own record, and so does what was heard meanwhile",
    "I7": "an end is Codex's word, never a guess",
    "I8": "journal sequences have no gap and no repeat",
}


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was not kept."""

    promise: str
    what: str


@dataclass
class Watch:
    """Looks at every commit: what was final must stay as it is (I3), and who writes must be the one
    on record (I5)."""

    breaches: list[Breach] = field(default_factory=list)
    _known: dict[OperationId, Operation] = field(default_factory=dict)

    def look(self, book: Book, writer: Generation) -> None:
        for operation in book.read_now(_everything):
            former = self._known.get(operation.id)
            if former == operation:
                continue
            self._known[operation.id] = operation
            if former is not None and former.is_final:
                self.breaches.append(
                    Breach("I3", f"{operation.id} was {former.status} and became another")
                )
            if former is not None and former.generation > operation.generation:
                self.breaches.append(Breach("I5", f"worker {writer} took {operation.id} back"))
            if operation.generation not in (NOBODY, writer):
                whose = f"belongs to worker {operation.generation}"
                self.breaches.append(
                    Breach("I5", f"worker {writer} wrote to {operation.id}, which {whose}")
                )


def check(
    book: Book, codex: FakeCodex, acknowledged: Sequence[tuple[str | None, OperationId]]
) -> list[Breach]:
    """Everything but I3, which must be watched while it happens."""
    found = book.read_now(_everything)
    breaches = _acknowledged(found, acknowledged)
    for operation in found:
        breaches += _asked_once(operation, codex)
        breaches += _nothing_open(book, operation)
        breaches += _ended_truly(operation, codex)
        breaches += _journal(book, operation, codex)
    for interaction in book.read_now(_interactions):
        breaches += _answered_truly(interaction, codex)
    return breaches


def _acknowledged(
    found: Sequence[Operation], acknowledged: Sequence[tuple[str | None, OperationId]]
) -> list[Breach]:
    present = {operation.id for operation in found}
    breaches = [
        Breach("I2", f"{operation_id} was acknowledged and is not there")
        for _, operation_id in acknowledged
        if operation_id not in present
    ]
    made: dict[str, OperationId] = {}
    for operation in found:
        key = operation.client_request_id
        if key is not None and made.setdefault(key, operation.id) != operation.id:
            breaches.append(Breach("I2", f"{key} has made two operations"))
    told: dict[str, OperationId] = {}
    for key, operation_id in acknowledged:
        if key is not None and told.setdefault(key, operation_id) != operation_id:
            breaches.append(Breach("I2", f"{key} was acknowledged as two operations"))
    return breaches


def _asked_once(operation: Operation, codex: FakeCodex) -> list[Breach]:
    if isinstance(operation.request, CompactThread):
        asked = sum(turn.is_compaction for turn in codex.turns)
    else:
        asked = len(codex.prompts_of(operation.id))
    return [] if asked <= 1 else [Breach("I1", f"{operation.id} asked the model {asked} times")]


def _nothing_open(book: Book, operation: Operation) -> list[Breach]:
    if not operation.is_final:
        return [Breach("I5", f"{operation.id} is still {operation.status}")]
    asked = book.read_now(lambda reading: interactions.open_of(reading, operation.id))
    wished = book.read_now(lambda reading: wishes.open_wishes(reading, operation.id))
    return [
        Breach("I5", f"{operation.id} has ended and has an open {what}")
        for what, open_ones in (("question", asked), ("wish", wished))
        if open_ones
    ]


def _ended_truly(operation: Operation, codex: FakeCodex) -> list[Breach]:
    """Its end is what Codex's record says of its turn."""
    turn = next((turn for turn in codex.turns if turn.id == operation.turn_id), None)
    if operation.request.type == "steer_turn":
        prompts = codex.prompts_of(operation.id)
        if (operation.status is Status.COMPLETED) != bool(prompts):
            return [Breach("I7", f"steering {operation.status}, taken {len(prompts)} times")]
        return []
    if operation.turn_id is None and operation.status is Status.COMPLETED:
        return _was_done(operation, codex)
    if turn is None:
        asked = codex.prompts_of(operation.id)
        guessed = operation.status in (Status.COMPLETED, Status.INTERRUPTED) or bool(asked)
        return [Breach("I7", f"{operation.id} is {operation.status}")] if guessed else []
    if turn.status != operation.status:
        return [Breach("I7", f"Codex says {turn.status}, the book {operation.status}")]
    if operation.status is Status.COMPLETED:
        is_compaction = isinstance(operation.request, CompactThread)
        said = Compaction.silence if is_compaction else turn.said()
        reported = operation.report.text if operation.report else None
        if reported != said:
            return [Breach("I6", f"Codex said {said!r}, reported was {reported!r}")]
    return []


def _was_done(operation: Operation, codex: FakeCodex) -> list[Breach]:
    """What needed no turn is as it was wanted, or was at some time."""
    match operation.request:
        case ForkThread(source_thread_id=source):
            thread = codex.disk.get(operation.thread_id or "")
            is_true = thread is not None and thread.forked_from == source
        case ArchiveThread(thread_id=thread_id):
            is_true = ("thread/archive", {"threadId": thread_id}) in codex.calls
        case UnarchiveThread(thread_id=thread_id):
            is_true = ("thread/unarchive", {"threadId": thread_id}) in codex.calls
        case _:
            is_true = False
    what = f"{operation.id} ({operation.request.type}) is said to be done"
    return [] if is_true else [Breach("I7", what)]


def _journal(book: Book, operation: Operation, codex: FakeCodex) -> list[Breach]:
    written = book.read_now(lambda reading: journal.after(reading, operation.id, 0, 1_000_000))
    breaches = []
    if [line.seq for line in written] != list(range(1, operation.last_seq + 1)):
        breaches.append(Breach("I8", f"the journal of {operation.id} has a gap or a repeat"))
    turn = next((turn for turn in codex.turns if turn.id == operation.turn_id), None)
    if turn is not None and operation.status is Status.COMPLETED:
        heard = "".join(
            line.text for line in written if line.category in (Category.ASSISTANT, Category.PLAN)
        )
        said = "" if operation.request.type == "steer_turn" else turn.said_in_all()
        if heard != said:
            breaches.append(Breach("I6", f"Codex said {said!r}, the journal holds {heard!r}"))
    return breaches


def _answered_truly(interaction: Interaction, codex: FakeCodex) -> list[Breach]:
    asked = interaction.asked
    ask = codex.asks[(asked.app_server_id, json.loads(asked.request_id))]
    match interaction.status:
        case InteractionStatus.ANSWERED:
            if ask.taken is None or _meaning(ask.taken) != _meaning(interaction.answer):
                on_record = _meaning(interaction.answer)
                return [Breach("I4", f"{on_record} is on record, Codex got {ask.taken}")]
        case InteractionStatus.WITHDRAWN:
            # Who interrupted a turn nobody can say afterwards: a "no" may be on record as
            # withdrawn, a "yes" never.
            refused = ask.turn.status == "interrupted" and _meaning(ask.taken) in _REFUSALS
            if ask.taken is not None and not refused and not codex.is_gone(asked.app_server_id):
                return [Breach("I4", f"withdrawn is on record, Codex got {ask.taken}")]
        case InteractionStatus.AUTO_DECLINED | InteractionStatus.EXPIRED:
            if ask.taken is None or ask.taken.get("decision") not in (None, "decline"):
                return [Breach("I4", f"nobody answered in time, Codex got {ask.taken}")]
        case InteractionStatus.PENDING:
            return [Breach("I5", f"{interaction.id} is still open")]
    return []


def _meaning(answer: object) -> object:
    """What an answer says, in our words or in Codex's: a decision, or words for each question."""
    if not isinstance(answer, dict):
        return None
    if not isinstance(answer.get("answers"), dict):
        return answer.get("decision")
    return {question: _words(said) for question, said in answer["answers"].items()}


def _words(said: object) -> object:
    if isinstance(said, dict):
        return said.get("answers")
    return said if isinstance(said, list) else [said]


_REFUSALS = ("cancel", "decline")


def _everything(reading: Reading) -> list[Operation]:
    return lookup.every(reading)


def _interactions(reading: Reading) -> list[Interaction]:
    return interactions.listed(reading, Search(status=None), behind=None, limit=1000)


def recorded(book: Book, codex: FakeCodex) -> str:
    """The end of a history as text. What is random in it, our ids and the folder, is replaced."""
    found = sorted(book.read_now(_everything), key=lambda one: one.client_request_id or "")
    lines = [line for operation in found for line in _recorded(book, operation)]
    asked = sorted(book.read_now(_interactions), key=_in_codex_order)
    lines += [f"{one.id} {one.status} {one.answer}" for one in asked]
    lines += [f"{turn.id} {turn.status} {turn.items}" for turn in codex.turns]
    names: dict[str, str] = {}
    text = _OUR_IDS.sub(
        lambda one: names.setdefault(one[0], f"{one[1]}#{len(names) + 1}"), "\n".join(lines)
    )
    return text.replace(found[0].request.cwd, "/project") if found else text


def _in_codex_order(interaction: Interaction) -> tuple[str, int]:
    return interaction.asked.app_server_id, json.loads(interaction.asked.request_id)


def _recorded(book: Book, operation: Operation) -> list[str]:
    written = book.read_now(lambda reading: journal.after(reading, operation.id, 0, 1_000_000))
    return [
        f"{operation.id} {operation.status} {operation.report} {operation.trouble}",
        *(f"{operation.id} {one.seq} {one.at} {one.category} {one.text}" for one in written),
    ]


_OUR_IDS = re.compile(r"(op|ia|wi)_[0-9a-f]{22}")
