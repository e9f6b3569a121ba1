"""An operation in somebody's hands: what it is now, and the right to write to it."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from codex_control_plane_mcp.model.ids import Generation, InteractionId
from codex_control_plane_mcp.model.interaction import Interaction, InteractionStatus
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Cancelled,
    Completed,
    Fact,
    Failed,
    GoalProgress,
    Interrupted,
    Operation,
    TokenUsage,
    sentence,
)
from codex_control_plane_mcp.store import interactions, operations, wishes
from codex_control_plane_mcp.store.book import Book, Writing
from codex_control_plane_mcp.store.operations import Fenced
from codex_control_plane_mcp.store.wishes import Outcome, Wish, WishKind

logger = logging.getLogger(__name__)
T = TypeVar("T")
Also: TypeAlias = Callable[[Writing], None]


class Case:
    """One operation, as its driver knows it. Nobody else writes to it, so it is never stale.

    Every method that writes raises Fenced once another worker has taken over.
    """

    def __init__(self, operation: Operation, book: Book) -> None:
        self.operation = operation
        self.book = book

    async def record(
        self,
        *facts: Fact,
        entries: Sequence[Entry] = (),
        heard: bool = False,
        token_usage: TokenUsage | None = None,
        goal: GoalProgress | None = None,
        also: Also | None = None,
        patient: bool = False,
    ) -> None:
        """Write down what happened; `also` is done in the same transaction, after it. `patient`:
        nobody waits for it, see `Book.write`."""

        def write(writing: Writing, operation: Operation) -> tuple[Operation, None]:
            moved = operations.record(
                writing,
                operation,
                *facts,
                entries=entries,
                heard=heard,
                token_usage=token_usage,
                goal=goal,
            )
            if also is not None:
                also(writing)
            return moved, None

        await self.write(write, patient=patient)
        _log(facts)

    async def record_unless_unwanted(self, *facts: Fact) -> None:
        """Write down what happened, and that it has ended with that where somebody wants it to:
        there is no moment in between at which a wish to end it is overlooked."""

        def write(writing: Writing, operation: Operation) -> tuple[Operation, None]:
            try:
                return operations.record(writing, operation, *facts, only_wanted=True), None
            except Fenced:
                if not wishes.is_unwanted(writing.connection, operation.id):
                    raise
            moved = operations.record(writing, operation, *facts, Cancelled())
            self.close_everything(writing, Cancelled())
            return moved, None

        await self.write(write)
        _log(facts)

    async def write(
        self, work: Callable[[Writing, Operation], tuple[Operation, T]], *, patient: bool = False
    ) -> T:
        """Run `work` in one transaction, which writes of this operation alone; it returns the
        operation as it is then, and a result."""
        self.operation, result = await self.book.write(
            lambda writing: work(writing, self.operation), pen=False, patient=patient
        )
        return result

    async def note(self, category: Category, text: str) -> None:
        """Write one line into the journal."""
        await self.record(entries=[Entry(category, text)])

    async def end(self, *facts: Fact, entries: Sequence[Entry] = ()) -> None:
        """Write down how it ended; the last fact is the end. Nothing stays open behind it:
        questions that Codex no longer waits for are withdrawn, wishes are fulfilled or moot."""
        await self.record(
            *facts,
            entries=entries,
            heard=self.operation.turn_id is not None,
            also=lambda writing: self.close_everything(writing, facts[-1]),
        )

    async def end_in_queue(self, generation: Generation) -> None:
        """End it before anybody has taken it. It is nobody's yet, so what counts is who owns the
        book."""

        def also(writing: Writing) -> None:
            operations.must_own(writing, generation)
            self.close_everything(writing, Cancelled())

        await self.record(Cancelled(), also=also)

    async def wishes(self) -> list[Wish]:
        """What doors want of this operation."""
        return await self.book.read(
            lambda connection: wishes.open_wishes(connection, self.operation.id)
        )

    async def open_interactions(self) -> list[Interaction]:
        """What Codex was last known to wait for."""
        return await self.book.read(
            lambda connection: interactions.open_of(connection, self.operation.id)
        )

    def close_everything(self, writing: Writing, fact: Fact) -> None:
        """Leave nothing open behind the end that `fact` is, and that is written."""
        if not wishes.leaves_anything(writing.connection, self.operation.id):
            return
        wished = wishes.open_wishes(writing.connection, self.operation.id)
        sent = {wish.interaction_id: wish for wish in wished if wish.sent_at is not None}
        for interaction in interactions.open_of(writing.connection, self.operation.id):
            answer = sent.get(interaction.id)
            if answer is not None and self._went_by(interaction, fact):
                close(writing, interaction.id, InteractionStatus.ANSWERED, answer)
                wished.remove(answer)
            else:
                close(writing, interaction.id, InteractionStatus.WITHDRAWN, None)
        for wish in wished:
            granted = wish.kind is WishKind.CANCEL and isinstance(fact, Interrupted | Cancelled)
            wishes.fulfil(writing, wish, Outcome.DONE if granted else Outcome.MOOT)

    def _went_by(self, interaction: Interaction, fact: Fact) -> bool:
        """Whether Codex has got an answer that was sent, though nobody heard it say so: a turn that
        waits for an answer cannot end by itself, and the process that asked is the one that went
        on. An interrupted turn proves nothing."""
        same_process = interaction.asked.app_server_id == self.operation.app_server_id
        return same_process and isinstance(fact, Completed | Failed)


def _log(facts: Sequence[Fact]) -> None:
    for fact in facts:
        logger.info("%s", sentence(fact))


def close(
    writing: Writing,
    interaction_id: InteractionId,
    status: InteractionStatus,
    wish: Wish | None,
) -> None:
    """Close an interaction and fulfil the wish that answered it, if one did."""
    interaction = interactions.get(writing.connection, interaction_id)
    if interaction is None:
        return
    interactions.close_interaction(
        writing,
        interaction,
        status,
        answered_by=wish.made_by if wish else None,
        answer=_without_secrets(interaction, wish.payload) if wish else None,
    )
    if wish is not None:
        answered = status in (InteractionStatus.ANSWERED, InteractionStatus.AUTO_DECLINED)
        wishes.fulfil(writing, wish, Outcome.DONE if answered else Outcome.MOOT)


def _without_secrets(interaction: Interaction, payload: object) -> object:
    """The answer as it may be kept: what was typed into a secret question is not."""
    secret = {question.id for question in interaction.asked.questions if question.is_secret}
    if not secret or not isinstance(payload, dict) or not isinstance(payload.get("answers"), dict):
        return payload
    kept = {
        id_: "[redacted]" if id_ in secret else answer for id_, answer in payload["answers"].items()
    }
    return payload | {"answers": kept}
