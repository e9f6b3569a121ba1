"""Holds what is left of a run against the promises: pure, so that a test can doctor the evidence
and see that each is really looked at.

    lost     acknowledged, and not there or never ended
    doubled  asked the model, or Codex, more than once
    wrong    anything else that is not as promised
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from codex_control_plane_mcp.codex.session import app_server_id
from codex_control_plane_mcp.codex.words.things import ProposedPlan, Turn, UserMessage
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.interaction import Interaction, InteractionStatus
from codex_control_plane_mcp.model.journal import Written
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.scripted_model import RecordedRequest
from codex_control_plane_mcp.selftest.real.evidence import Evidence
from codex_control_plane_mcp.selftest.real.fleet import Followed
from codex_control_plane_mcp.selftest.real.stage import Role
from codex_control_plane_mcp.selftest.real.tasks import UNDISTURBED, Kind

#: A kill is noted a moment after it: what it caused may bear an earlier time.
CLOCK_MILLISECONDS = 1_000
#: Entries of a journal that go into a note.
JOURNAL_LINES = 12


class Harm(StrEnum):
    LOST = "lost"
    DOUBLED = "doubled"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was not kept."""

    harm: Harm
    promise: str
    #: The operation's id, or the key of its task.
    whose: str
    what: str
    journal: tuple[str, ...] = ()

    def __str__(self) -> str:
        story = "".join(f"\n    {line}" for line in self.journal)
        return f"{self.harm} ({self.promise}) {self.whose}: {self.what}{story}"


def check(evidence: Evidence) -> list[Breach]:
    """Everything that is not as promised."""
    return list(Judge(evidence).breaches())


class Judge:
    """Looks at one promise after the other."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._operations = {one.id: one for one in evidence.operations}
        self._by_key = {one.client_request_id: one for one in evidence.operations}
        self._followed = {one.task.key: one for one in evidence.followed}
        self._turns = {turn.id: turn for turns in evidence.threads.values() for turn in turns}
        self._messages = Counter(
            (item.client_id or "").partition(".")[0]
            for turn in self._turns.values()
            for item in turn.items
            if isinstance(item, UserMessage)
        )
        self._asked: defaultdict[str, list[RecordedRequest]] = defaultdict(list)
        for request in evidence.requests:
            self._asked[_marker_in(request.user_message)].append(request)
        self._usual = {
            one.task.kind: (one, self._by_key.get(one.task.key))
            for one in evidence.followed
            if one.task.number <= UNDISTURBED
        }

    def breaches(self) -> Iterator[Breach]:
        yield from self._there()
        for one in self._evidence.followed:
            yield from self._asked_once(one)
            yield from self._ran_if_accepted(one)
            yield from self._shown_truly(one)
        for operation in self._evidence.operations:
            yield from self._ended(operation)
            yield from self._journal(operation)
        for interaction in self._evidence.interactions:
            yield from self._answered(interaction)
        yield from self._nothing_left()

    def _breach(self, harm: Harm, promise: str, whose: str, what: str) -> Breach:
        operation = self._by_key.get(whose) or self._operations.get(OperationId(whose))
        if operation is None:
            return Breach(harm, promise, whose, what)
        lines = self._evidence.journals.get(operation.id, ())[-JOURNAL_LINES:]
        name = f"{operation.id}, task {operation.client_request_id}"
        return Breach(harm, promise, name, what, tuple(map(_line, lines)))

    # I2: there, and once

    def _there(self) -> Iterator[Breach]:
        keys = Counter(one.client_request_id for one in self._evidence.operations)
        for key, times in keys.items():
            if times > 1:
                yield self._breach(Harm.DOUBLED, "I2", str(key), f"{times} operations have its key")
            if key not in self._followed:
                yield self._breach(Harm.WRONG, "I2", str(key), "nobody submitted it")
        for one in self._evidence.followed:
            if len(one.operation_ids) > 1:
                names = ", ".join(sorted(one.operation_ids))
                yield self._breach(
                    Harm.DOUBLED, "I2", one.task.key, f"acknowledged as several: {names}"
                )
            for missing in one.operation_ids - self._operations.keys():
                yield self._breach(
                    Harm.LOST, "I2", one.task.key, f"{missing} was acknowledged and is not there"
                )
            if one.refused is not None:
                yield self._breach(Harm.WRONG, "I2", one.task.key, f"refused: {one.refused}")
        for what in self._evidence.unanswered:
            yield Breach(Harm.LOST, "I2", what, "a call was never answered")

    # I1: asked once

    def _asked_once(self, one: Followed) -> Iterator[Breach]:
        asked = self._asked[one.task.marker]
        turns = {request.turn_id for request in asked}
        beginnings = sum(request.step == 0 for request in asked)
        if len(turns) > 1 or beginnings > 1:
            yield self._breach(
                Harm.DOUBLED,
                "I1",
                one.task.key,
                f"the model was asked {beginnings} times, in the turns {sorted(map(str, turns))}",
            )
        operation = self._by_key.get(one.task.key)
        taken = 0 if operation is None else self._messages[operation.id]
        if taken > 1:
            yield self._breach(
                Harm.DOUBLED, "I1", one.task.key, f"Codex has its message {taken} times"
            )
        if operation is not None and asked and turns != {operation.turn_id}:
            yield self._breach(
                Harm.WRONG,
                "I7",
                one.task.key,
                f"the model was asked in {sorted(map(str, turns))}, its turn is"
                f" {operation.turn_id} and it is {operation.status}",
            )

    # I3: final stays final

    def _shown_truly(self, one: Followed) -> Iterator[Breach]:
        operation = self._by_key.get(one.task.key)
        ends = set(one.ends)
        if operation is not None:
            report = None if operation.report is None else operation.report.text
            ends.add((operation.status.value, report))
        if one.ends and len(ends) > 1:
            yield self._breach(
                Harm.WRONG, "I3", one.task.key, f"it ended as {sorted(map(str, ends))}"
            )

    # I4: approvals

    def _ran_if_accepted(self, one: Followed) -> Iterator[Breach]:
        lines = self._evidence.effects.get(one.task.key, 0)
        if lines > 1:
            yield self._breach(Harm.DOUBLED, "I4", one.task.key, f"its command ran {lines} times")
        if lines and "accept" not in one.decisions:
            yield self._breach(
                Harm.WRONG, "I4", one.task.key, f"its command ran, decided was {one.decisions}"
            )
        operation = self._by_key.get(one.task.key)
        is_through = operation is not None and operation.status is Status.COMPLETED
        if one.task.kind is Kind.APPROVAL and is_through and lines != one.task.accept:
            yield self._breach(
                Harm.WRONG,
                "I4",
                one.task.key,
                f"it completed, its command ran {lines} times, decided was {one.decisions}",
            )

    def _answered(self, interaction: Interaction) -> Iterator[Breach]:
        operation = self._operations[interaction.operation_id]
        decided = (
            interaction.answer.get("decision") if isinstance(interaction.answer, dict) else None
        )
        one = self._followed.get(operation.client_request_id or "")
        match interaction.status:
            case InteractionStatus.PENDING:
                yield self._breach(Harm.LOST, "I5", operation.id, f"{interaction.id} is still open")
            case InteractionStatus.ANSWERED if one is None or decided not in one.decisions:
                given = None if one is None else one.decisions
                yield self._breach(
                    Harm.WRONG, "I4", operation.id, f"{decided} is on record, given was {given}"
                )
            case InteractionStatus.ANSWERED | InteractionStatus.WITHDRAWN:
                pass
            case InteractionStatus.AUTO_DECLINED | InteractionStatus.EXPIRED:
                yield self._breach(
                    Harm.WRONG, "I4", operation.id, f"{interaction.id} is {interaction.status}"
                )

    # I6, I7: ended as Codex says

    def _ended(self, operation: Operation) -> Iterator[Breach]:
        if not operation.is_final:
            yield self._breach(Harm.LOST, "I5", operation.id, f"it is still {operation.status}")
            return
        why = self._evidence.unreadable.get(operation.thread_id) if operation.thread_id else None
        if why is not None:
            yield from self._ended_without_thread(operation, why)
            return
        if operation.request.type == "steer_turn":
            yield from self._steered(operation)
            return
        turn = self._turns.get(operation.turn_id) if operation.turn_id else None
        match operation.status:
            case Status.COMPLETED:
                yield from self._completed(operation, turn)
            case Status.INTERRUPTED:
                yield from self._interrupted(operation, turn)
            case Status.UNKNOWN:
                taken = self._messages[operation.id]
                if taken or not self._was_hit(operation):
                    yield self._breach(
                        Harm.WRONG, "I7", operation.id, f"unknown, but Codex has it {taken} times"
                    )
            case status:
                yield self._breach(
                    Harm.WRONG, "I7", operation.id, f"it is {status}: {operation.trouble}"
                )

    def _ended_without_thread(self, operation: Operation, why: str) -> Iterator[Breach]:
        """Codex keeps no thread that never had a turn."""
        if operation.status in (Status.COMPLETED, Status.INTERRUPTED):
            yield self._breach(
                Harm.WRONG, "I7", operation.id, f"{operation.status}, its thread is gone: {why}"
            )

    def _completed(self, operation: Operation, turn: Turn | None) -> Iterator[Breach]:
        if turn is None or turn.status != "completed":
            found = "no such turn" if turn is None else turn.status
            yield self._breach(Harm.WRONG, "I7", operation.id, f"completed, Codex says {found}")
            return
        reported = operation.report.text if operation.report else None
        said = _final_words(turn)
        if reported != said:
            yield self._breach(
                Harm.WRONG, "I6", operation.id, f"reported is {reported!r}, Codex has {said!r}"
            )
        usual = self._as_usual(operation)
        if reported != usual:
            yield self._breach(
                Harm.WRONG,
                "I6",
                operation.id,
                f"reported is {reported!r}, undisturbed it would be {usual!r}",
            )

    def _as_usual(self, operation: Operation) -> str | None:
        """What an undisturbed operation of the same kind reported, with this one's key."""
        one = self._followed[operation.client_request_id or ""]
        if one.task.kind is Kind.STEERED:
            steering = self._by_key.get(one.steered_by.task.key) if one.steered_by else None
            taken = steering is not None and steering.status is Status.COMPLETED
            return one.steered_by.task.report if taken and one.steered_by else one.task.report
        like, ended = self._usual[one.task.kind]
        if ended is None or ended.report is None:
            return None
        return ended.report.text.replace(like.task.key, one.task.key)

    def _interrupted(self, operation: Operation, turn: Turn | None) -> Iterator[Breach]:
        if turn is None or turn.status != "interrupted":
            found = "no such turn" if turn is None else turn.status
            yield self._breach(Harm.WRONG, "I7", operation.id, f"interrupted, Codex says {found}")
        elif not self._was_hit(operation):
            yield self._breach(
                Harm.WRONG,
                "I7",
                operation.id,
                "interrupted, but no app-server was killed meanwhile",
            )

    def _was_hit(self, operation: Operation) -> bool:
        """Whether an app-server was killed during its life."""
        ended_at = operation.completed_at or operation.updated_at
        return any(
            one.role is Role.APP_SERVER
            and operation.created_at - CLOCK_MILLISECONDS <= one.at <= ended_at + CLOCK_MILLISECONDS
            for one in self._evidence.killed
        )

    def _steered(self, operation: Operation) -> Iterator[Breach]:
        taken = self._messages[operation.id]
        is_done = operation.status is Status.COMPLETED
        if is_done != bool(taken) and not (is_done and self._died_with_its_turn(operation)):
            yield self._breach(
                Harm.WRONG,
                "I7",
                operation.id,
                f"steering {operation.status} ({operation.trouble}), Codex has it {taken} times",
            )

    def _died_with_its_turn(self, steering: Operation) -> bool:
        """Codex says yes to words when it has them in memory, and writes them down a moment later.
        Were they lost in between, then with the turn, and by a kill of that very process."""
        turn = self._turns.get(steering.turn_id) if steering.turn_id else None
        said_at = steering.completed_at or steering.updated_at
        return (
            turn is not None
            and turn.status == "interrupted"
            and any(
                one.role is Role.APP_SERVER
                and app_server_id(one.process) == steering.app_server_id
                and one.at >= said_at - CLOCK_MILLISECONDS
                for one in self._evidence.killed
            )
        )

    # I8 and the rest

    def _journal(self, operation: Operation) -> Iterator[Breach]:
        seqs = [line.seq for line in self._evidence.journals[operation.id]]
        if seqs != list(range(1, operation.last_seq + 1)):
            yield self._breach(Harm.WRONG, "I8", operation.id, f"its journal is numbered {seqs}")

    def _nothing_left(self) -> Iterator[Breach]:
        for wish in self._evidence.open_wishes:
            yield self._breach(Harm.WRONG, "I5", wish.operation_id, f"a wish is open: {wish.kind}")
        for process in self._evidence.left_running:
            yield Breach(Harm.WRONG, "I5", "a process", f"still runs after the end: {process}")


def _final_words(turn: Turn) -> str | None:
    plans = [item.text for item in turn.items if isinstance(item, ProposedPlan)]
    message = turn.final_message
    if message is not None:
        return message.text
    return plans[-1] if plans else None


def _marker_in(message: str) -> str:
    start = message.find("[[")
    return message[start : message.find("]]", start) + 2] if start >= 0 else ""


def _line(written: Written) -> str:
    return f"{written.seq} {written.at} {written.category}: {written.text[:200]}"
