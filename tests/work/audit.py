"""What must hold after every test, whatever it did: the invariants, read from the book."""

import json
from dataclasses import dataclass, field

from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.interaction import Interaction, InteractionStatus
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.store import interactions, journal, lookup, wishes
from codex_control_plane_mcp.store.book import Book, Reading
from codex_control_plane_mcp.store.interactions import Search


@dataclass
class Watch:
    """Looks at every change of the book as it happens: what is final stays as it is (I3)."""

    book: Book
    final: dict[OperationId, Operation] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def look(self) -> None:
        for operation in self.book.read_now(_everything):
            former = self.final.get(operation.id)
            if former is not None and former != operation:
                self.broken.append(f"it was final: {former}\nand became: {operation}")
            if operation.is_final:
                self.final[operation.id] = operation


def audit(book: Book, watch: Watch) -> None:
    """I3 and I8, and that nothing is left open behind an end."""
    assert not watch.broken, watch.broken[0]
    for operation in book.read_now(_everything):
        _audit_operation(book, operation)


def _audit_operation(book: Book, operation: Operation) -> None:
    written = book.read_now(lambda reading: journal.after(reading, operation.id, 0, 1_000_000))
    assert [line.seq for line in written] == list(range(1, operation.last_seq + 1))
    if operation.is_final:
        questions = book.read_now(lambda reading: interactions.open_of(reading, operation.id))
        assert not questions, "a question is open behind the end"
        wished = book.read_now(lambda reading: wishes.open_wishes(reading, operation.id))
        assert not wished, "a wish is open behind the end"


def audit_codex(book: Book, codex: FakeCodex) -> None:
    """I1: the model was asked once at most. I4: what is on record is what Codex went by."""
    for operation in book.read_now(_everything):
        prompts = codex.prompts_of(operation.id)
        assert len(prompts) <= 1, f"the model was asked {len(prompts)} times: {prompts}"
    every = Search(status=None)
    for interaction in book.read_now(
        lambda reading: interactions.listed(reading, every, behind=None, limit=1000)
    ):
        _audit_interaction(interaction, codex)


def _audit_interaction(interaction: Interaction, codex: FakeCodex) -> None:
    asked = interaction.asked
    if codex.is_gone(asked.app_server_id):
        return  # Whether it got the answer before it died is known to nobody.
    ask = codex.asks[(asked.app_server_id, json.loads(asked.request_id))]
    match interaction.status:
        case InteractionStatus.PENDING:
            pass
        case InteractionStatus.ANSWERED:
            assert ask.taken is not None, "an answer is on record that Codex never took"
            if "decision" in ask.taken:
                assert isinstance(interaction.answer, dict)
                assert interaction.answer["decision"] == ask.taken["decision"]
        case InteractionStatus.AUTO_DECLINED | InteractionStatus.EXPIRED:
            assert ask.taken is not None
            assert ask.taken.get("decision") in (None, "decline")
        case InteractionStatus.WITHDRAWN:
            assert ask.taken is None, f"Codex took {ask.taken}, and the record says withdrawn"


def _everything(reading: Reading) -> list[Operation]:
    ids = [row.id for row in reading.exec_driver_sql("SELECT id FROM operations ORDER BY id")]
    return lookup.many(reading, ids)
