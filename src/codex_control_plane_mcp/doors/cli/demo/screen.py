"""How the demo looks: one column of acts, the same in every width, without a moving part.

Text that streams in is shown as it comes; nothing is ever overwritten, so a log of it reads well.
"""

import re
from pathlib import Path

from rich.console import Console
from rich.json import JSON
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from codex_control_plane_mcp.doors.cli.client import Event, Interaction, Operation
from codex_control_plane_mcp.doors.cli.ending import End, Ended
from codex_control_plane_mcp.doors.cli.words import MARKS
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.processes import Identity

#: Everything below the title of an act stands this far in.
INDENT = 3
#: The time column: `123.4 s  `.
CLOCK = 9

_SPOKEN = (Category.ASSISTANT, Category.PLAN)


#: Codex's ids are long, and told in full at the end.
_UUID = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f-]{22,}\b")


class Screen:
    """Writes the story to one console."""

    def __init__(self, console: Console, home: Path | None = None) -> None:
        self._console = console
        self._home = str(home or Path.home())
        self._acts = 0
        self._flow = _Flow(console)

    # The acts

    def opening(self, codex_version: str | None, *, real: bool) -> None:
        with_whom = (
            "with your own Codex login, on a sample project"
            if real
            else "against a scripted model on this machine: no account, no network"
        )
        self._console.print()
        self._console.print(
            Text.assemble(
                ("codex-control-plane-mcp", "bold cyan"),
                ("  one task there and back", "bold"),
            )
        )
        self._console.print(
            Text(f"Real Codex {codex_version or '(version unknown)'}, {with_whom}.", "dim")
        )

    def act(self, title: str, tool: str = "") -> None:
        """The heading of a new act."""
        self._flow.end()
        self._acts += 1
        head = Text.assemble((f"{self._acts}", "bold cyan"), f"{'':2}", (title, "bold"), " ")
        tail = Text(f" {tool}" if tool else "", "magenta")
        line = Text("─" * max(3, self._console.width - len(head) - len(tail)), "bright_black")
        self._console.print()
        self._console.print(head + line + tail, no_wrap=True, overflow="crop")

    def connected(self, seconds: float, worker: Identity | None) -> None:
        self._good(
            Text.assemble(
                ("connected", "bold"), f" in {seconds:.1f} s, with the start of the worker"
            )
            + Text(f" (pid {worker.pid})" if worker else "")
        )
        self._line(Text("  the next client joins it, and connects in milliseconds", "dim"))

    def task(self, message: str, cwd: Path) -> None:
        self._line(Text(f"“{message}”", "italic"))
        self._line(Text(f"in {self.shown(str(cwd))}", "dim"))

    def acknowledged(self, operation: Operation, milliseconds: float) -> None:
        self._good(
            Text.assemble(
                ("stored and acknowledged", "bold"),
                f" in {milliseconds:.0f} ms; from here on it is not lost",
            )
        )
        self._line(Text(f"  operationId {operation.operation_id}", "dim"))

    def progress(self, event: Event, seconds: float) -> None:
        """One line of the journal, at the moment when it was heard of."""
        mark, style = MARKS[Category(event.category)]
        if event.category in _SPOKEN:
            self._flow.say(event.text, self._stamp(seconds, mark, style), INDENT + CLOCK + 2)
            return
        self._flow.end()
        text = _UUID.sub(r"\1…", self.shown(event.text))
        if event.category == Category.COMMAND and text.startswith("$ "):
            text = text[2:]
        elif event.category == Category.COMMAND:
            mark, style = " ", "dim"
        self._beside(self._stamp(seconds, mark, style), Text(text, style))

    def question(self, asked: Interaction) -> None:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(overflow="fold")
        if asked.command:
            rows.add_row("command", Text(self.shown(asked.command), "bold"))
        else:
            rows.add_row("asks", Text(self.shown(asked.prompt), "bold"))
        if asked.cwd:
            rows.add_row("folder", Text(self.shown(asked.cwd)))
        if asked.reason:
            rows.add_row("reason", Text(asked.reason))
        self._framed(rows, title=f"{asked.kind}", style="yellow")

    def prompt(self, answer: str | None = None) -> None:
        """Ask the person; what they type follows on the same line. `answer`: nobody is asked."""
        asks = Text.assemble("Allow it?  ", ("a", "bold"), "ccept / ", ("d", "bold"), "ecline  » ")
        if answer is None:
            self._console.print(Text(" " * INDENT) + asks, end="")
        else:
            self._line(asks + Text(f"{answer} (--yes)", "dim"))

    def answered(self, decision: str) -> None:
        style = "green" if decision == "accept" else "red"
        self._line(Text.assemble(("→ ", "dim"), (decision, f"bold {style}")))

    def report(self, text: str | None) -> None:
        self._framed(Text(text or "(no report)"), title="final report", style="green")

    def compared(self, same: bool) -> None:
        if same:
            self._good(Text("the same, to the letter, as Codex's own record of the thread"))
        else:
            self._bad(Text("not the same as Codex's own record of the thread"))

    def note(self, path: Path, *, written: bool) -> None:
        if written:
            self._good(Text(f"you accepted: {path.name} was written"))
        else:
            self._good(Text(f"you declined: {path.name} was not written"))

    def ended_otherwise(self, operation: Operation) -> None:
        why = f": {operation.last_error.message}" if operation.last_error else ""
        self._bad(Text(f"the operation ended as {operation.status}{why}"))

    def submitted_again(self, request_id: str, *, same: bool) -> None:
        self._line(Text(f"the same call, the same client_request_id “{request_id}”", "dim"))
        if same:
            self._good(Text("the same operation, idempotent; Codex was asked once"))
        else:
            self._bad(Text("another operation came back"))

    def problem(self, text: str) -> None:
        self._flow.end()
        self._bad(Text(self.shown(text)))

    # The end

    def places(self, places: dict[str, str]) -> None:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(overflow="fold")
        for name, place in places.items():
            rows.add_row(name, self.shown(place))
        self._console.print(Padding(rows, (0, 0, 0, INDENT), expand=False))

    def ended(self, worker: Ended, app_server: Ended) -> None:
        for name, ended in (("worker", worker), ("app-server", app_server)):
            if ended.is_gone:
                continue
            self._bad(Text(f"the {name} is {ended.end.replace('_', ' ')} (pid {ended.pid})"))
        if worker.is_gone and app_server.is_gone:
            both = worker.end is End.ENDED and app_server.end is End.ENDED
            self._good(Text("worker and app-server ended" if both else "nothing runs any more"))

    def removed(self, *, gone: bool) -> None:
        if gone:
            self._good(Text("folder removed; --keep keeps it"))
        else:
            self._line(Text("the folder was kept; remove it when you have seen enough", "dim"))

    def next_step(self, block: str) -> None:
        self._line(Text("Give your MCP client this, with your own projects' folder:"))
        self._console.print(Padding(JSON(block, indent=2), (0, 0, 0, INDENT + 2), expand=False))
        self._line(
            Text.assemble(
                ("codex-control-plane-mcp-admin init", "bold"),
                (" writes it with the paths of this machine.", "dim"),
            )
        )

    def interrupted(self) -> None:
        self._flow.end()
        self._console.print()
        self._line(Text("Stopping: ending what was started. Once more leaves at once.", "yellow"))

    def shown(self, text: str) -> str:
        """The text with the home folder as `~`, as people write it."""
        return text.replace(self._home, "~") if len(self._home) > 1 else text

    # Lines

    def _line(self, text: Text) -> None:
        self._console.print(Padding(text, (0, 0, 0, INDENT), expand=False))

    def _good(self, text: Text) -> None:
        self._beside(Text(" " * INDENT + "✓ ", "green"), text)

    def _bad(self, text: Text) -> None:
        self._beside(Text(" " * INDENT + "✗ ", "bold red"), text)

    def _beside(self, mark: Text, text: Text) -> None:
        row = Table.grid()
        row.add_column(no_wrap=True, width=len(mark))
        row.add_column(overflow="fold")
        row.add_row(mark, text)
        self._console.print(row)

    def _framed(self, inside: Table | Text, *, title: str, style: str) -> None:
        panel = Panel(inside, title=title, title_align="left", border_style=style, padding=(0, 1))
        self._console.print(Padding(panel, (0, 0, 0, INDENT), expand=False))

    def _stamp(self, seconds: float, mark: str, style: str) -> Text:
        clock = f"{seconds:.1f} s".rjust(CLOCK - 2).ljust(CLOCK)
        return Text.assemble(" " * INDENT, (clock, "dim"), (f"{mark} ", style))


class _Flow:
    """Streaming text, wrapped at words while it comes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._column = 0
        self._margin = 0
        #: The last piece ended within a text: what comes next belongs to it.
        self._open = False

    def say(self, piece: str, mark: Text, margin: int) -> None:
        if not self._open:
            self.end()
            self._console.print(mark, end="")
            self._column = self._margin = margin
        for number, line in enumerate(piece.split("\n")):
            if number:
                self._break()
            for word in line.split(" "):
                self._word(word)
        # A message's pieces are cut behind white space, and its last one is not.
        self._open = piece[-1:].isspace()

    def end(self) -> None:
        """Finish the line, if one is begun."""
        if self._column:
            self._console.print()
        self._column, self._open = 0, False

    def _word(self, word: str) -> None:
        if not word:
            return
        begun = self._column > self._margin
        if begun and self._column + 1 + len(word) > self._console.width:
            self._break()
            begun = False
        said = f" {word}" if begun else word
        self._console.print(Text(said), end="", soft_wrap=True)
        self._column += len(said)

    def _break(self) -> None:
        self._console.print()
        self._console.print(" " * self._margin, end="")
        self._column = self._margin
