"""Turns what Codex says of a turn into journal entries. Pure: it neither reads nor writes.

Text that streams in is written in pieces that end at white space, so that a secret is never cut in
two and seen by halves. Once the whole text of an item is known, only what is missing is written.
Raw tool payloads, command output and hidden reasoning are not written at all.
"""

from codex_control_plane_mcp.codex.words.events import (
    AgentMessageDelta,
    ChecklistStep,
    ChecklistUpdated,
    DeltasDropped,
    DiffUpdated,
    ErrorReported,
    Event,
    ItemCompleted,
    ItemStarted,
    ModelRerouted,
    PlanDelta,
    WarningRaised,
)
from codex_control_plane_mcp.codex.words.things import (
    AgentMessage,
    CommandExecution,
    ContextCompaction,
    FileChange,
    Item,
    McpToolCall,
    ProposedPlan,
    Reasoning,
)
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.redact import redact

#: The longest command shown in full in a journal line; the approval itself is never cut.
MAX_COMMAND_CHARS = 2_000
#: Files named in a line about a change.
MAX_FILES_NAMED = 5

_MARKS = {"completed": "x", "inProgress": ">"}


class Scribe:
    """Collects entries until `take` is called.

    `inherited` says how many characters of which item the journal holds already, with secrets
    masked: after another worker has taken over, nothing is written twice.
    """

    def __init__(self, inherited: dict[str, int] | None = None) -> None:
        self._inherited = dict(inherited or {})
        self._written: dict[str, int] = {}
        #: Items heard from their beginning. Of one that was joined later, it is not known which
        #: part a delta is; its whole text comes at its end.
        self._whole: set[str] = set()
        self._streams: dict[str, tuple[Category, str]] = {}
        self._entries: list[Entry] = []
        self._diff: DiffUpdated | None = None

    @property
    def has_something(self) -> bool:
        """Whether `take` has something to give; half a word that still streams is nothing yet."""
        streams = any(_last_break(text) for _, text in self._streams.values())
        return bool(self._entries or self._diff or streams)

    def hear(self, said: Event | DeltasDropped) -> None:
        """Take in one thing that Codex said."""
        match said:
            case AgentMessageDelta(item_id=item_id, text=text):
                self._stream(item_id, Category.ASSISTANT, text)
            case PlanDelta(item_id=item_id, text=text):
                self._stream(item_id, Category.PLAN, text)
            case ItemStarted(item=item):
                self._item_started(item)
            case ItemCompleted(item=item):
                self.item_completed(item)
            case ChecklistUpdated(steps=steps):
                self._write(Category.CHECKLIST, "\n".join(map(_checkbox, steps)))
            case DiffUpdated():
                self._diff = said
            case ErrorReported(error=error, will_retry=True):
                self._write(Category.NOTICE, f"Codex tries again after: {error.message}")
            case ErrorReported(error=error):
                self._write(Category.ERROR, error.message)
            case ModelRerouted(from_model=former, to_model=present, reason=reason):
                because = f" ({reason})" if reason else ""
                self._write(Category.NOTICE, f"Model {former} was replaced by {present}{because}.")
            case WarningRaised(message=message):
                self._write(Category.NOTICE, message)
            case DeltasDropped(parts=parts, characters=characters):
                self._write(
                    Category.GAP,
                    f"{parts} pieces of streamed text ({characters} characters) missing.",
                )
            case _:
                pass  # A sign of life, which the follower notes, and nothing to write.

    def item_completed(self, item: Item) -> None:
        """Take in an item in its final form, heard live or read afterwards."""
        match item:
            case AgentMessage(id=item_id, text=text):
                self._complete(item_id, Category.ASSISTANT, text)
            case ProposedPlan(id=item_id, text=text):
                self._complete(item_id, Category.PLAN, text)
            case Reasoning(id=item_id, summary=summary):
                self._write(Category.REASONING, "\n\n".join(summary), item_id)
            case CommandExecution():
                self._write(Category.COMMAND, _command_ended(item), item.id)
            case FileChange():
                self._write(Category.FILE_CHANGE, _files_changed(item), item.id)
            case McpToolCall(server=server, tool=tool, status=status, error=error):
                because = f": {error}" if error else ""
                self._write(Category.TOOL, f"{server}.{tool} {status}{because}", item.id)
            case ContextCompaction():
                self._write(Category.NOTICE, "Codex compacted the thread's context.", item.id)
            case _:
                pass

    def note(self, category: Category, text: str) -> None:
        """Write a line of our own."""
        self._write(category, text)

    def take(self, *, all_of_it: bool = False) -> list[Entry]:
        """The entries to write now. Of a text that still streams only whole words, unless
        `all_of_it`."""
        for item_id, (category, text) in list(self._streams.items()):
            ready = text if all_of_it else text[: _last_break(text)]
            if ready:
                self._entries.append(Entry(category, ready, item_id))
                self._written[item_id] = self._written.get(item_id, 0) + len(ready)
                self._streams[item_id] = (category, text[len(ready) :])
            if not self._streams[item_id][1]:
                del self._streams[item_id]
        if self._diff is not None:
            self._entries.append(Entry(Category.FILE_CHANGE, _diff_size(self._diff)))
            self._diff = None
        taken, self._entries = self._entries, []
        return taken

    def _stream(self, item_id: str, category: Category, text: str) -> None:
        if item_id in self._whole:
            _, waiting = self._streams.get(item_id, (category, ""))
            self._streams[item_id] = (category, waiting + text)

    def _complete(self, item_id: str, category: Category, text: str) -> None:
        self._streams.pop(item_id, None)
        inherited = self._inherited.pop(item_id, None)
        if inherited is None:
            self._write(category, text[self._written.get(item_id, 0) :], item_id)
        else:
            # Lengths of masked text count in masked text only.
            self._write(category, redact(text)[inherited:], item_id)
        self._written[item_id] = len(text)

    def _item_started(self, item: Item) -> None:
        self._whole.add(item.id)
        if isinstance(item, CommandExecution):
            self._write(Category.COMMAND, f"$ {item.command[:MAX_COMMAND_CHARS]}", item.id)

    def _write(self, category: Category, text: str, item_id: str | None = None) -> None:
        if text:
            self._entries.append(Entry(category, text, item_id))


def _last_break(text: str) -> int:
    """Where the last whole word ends; the part behind it may be half a secret."""
    return max(text.rfind(" "), text.rfind("\n")) + 1


def _checkbox(step: ChecklistStep) -> str:
    return f"[{_MARKS.get(step.status, ' ')}] {step.step}"


def _command_ended(item: CommandExecution) -> str:
    took = "" if item.duration_ms is None else f" after {item.duration_ms / 1000:.1f} s"
    match item.status:
        case "declined":
            return "The command was declined."
        case _ if item.exit_code is None:
            return f"The command {item.status}{took}."
        case _:
            return f"Exit code {item.exit_code}{took}."


def _files_changed(item: FileChange) -> str:
    added = sum(file.added_lines for file in item.files)
    removed = sum(file.removed_lines for file in item.files)
    named = ", ".join(file.path for file in item.files[:MAX_FILES_NAMED])
    more = len(item.files) - MAX_FILES_NAMED
    others = f" and {more} more" if more > 0 else ""
    return f"File change {item.status}: {named}{others} (+{added} -{removed} lines)."


def _diff_size(diff: DiffUpdated) -> str:
    files = "file" if diff.file_count == 1 else "files"
    return (
        f"All changes so far: {diff.file_count} {files}, "
        f"+{diff.added_lines} -{diff.removed_lines} lines."
    )
