"""`answer`: the word of a person to what Codex asks.

The question is shown to the letter before anything is decided. At a terminal the person is asked;
elsewhere the decision must be given. Nothing is ever taken for a yes that is none.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from getpass import getpass

from rich.console import Console
from rich.text import Text

from codex_control_plane_mcp.desk.lookup import Thing
from codex_control_plane_mcp.desk.views import InteractionView, QuestionView
from codex_control_plane_mcp.doors.cli.client import connected
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.room import Room, chosen_settings, room_of
from codex_control_plane_mcp.doors.cli.sheets import decision_names, question
from codex_control_plane_mcp.doors.cli.speaking import carried_out, print_json
from codex_control_plane_mcp.doors.cli.terminal import page_on, somebody_is_there, typed_line
from codex_control_plane_mcp.doors.cli.words import plain
from codex_control_plane_mcp.errors import InteractionNotFound, InvalidArgument
from codex_control_plane_mcp.model.interaction import Kind


@dataclass(frozen=True, slots=True)
class Given:
    """What was decided on the command line, if anything."""

    decision: str | None = None
    answers: Sequence[str] = ()
    content: str | None = None

    @property
    def is_empty(self) -> bool:
        return self.decision is None and not self.answers and self.content is None


#: The arguments of the tool; None: the person would rather not say now.
Arguments = Mapping[str, object]


def run(typed: str | None, given: Given, state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        if given.is_empty and (as_json or not somebody_is_there()):
            raise InvalidArgument(
                "nobody can be asked here: say --decision, --answer or --content; `pending` shows "
                "what is on offer"
            )
        with room_of(chosen) as room:
            asked = await _asked(room, typed)
        if not given.is_empty and len(asked) > 1:
            ids = ", ".join(one.interaction_id for one in asked)
            raise InvalidArgument(f"several questions wait: name one of {ids}")
        # With --json standard output is the document's alone.
        console = page_on(sys.stderr if as_json else sys.stdout)
        async with connected(os.environ, chosen.state_db) as server:
            for one in asked:
                console.print(*question(one, console), sep="\n")
                said = _stated(one, given) if not given.is_empty else await _said(one, console)
                if said is None:
                    console.print(Text("left unanswered", "dim"))
                    continue
                receipt = await server.call(
                    "codex_answer_pending_interaction", interaction_id=one.interaction_id, **said
                )
                if as_json:
                    print_json(receipt)
                else:
                    console.print(_received(receipt))
        return Exit.DONE

    return carried_out(work, as_json=as_json)


async def _asked(room: Room, typed: str | None) -> Sequence[InteractionView]:
    """The questions that are meant. Raises InteractionNotFound when none waits."""
    if typed is None:
        asked = await room.questions()
    else:
        found = await room.find(typed, *Thing)
        if found.thing is Thing.INTERACTION:
            asked = tuple(one for one in await room.questions() if one.interaction_id == found.id)
        else:
            asked = await room.questions(found)
    if not asked:
        of = "" if typed is None else f" of {typed}"
        raise InteractionNotFound(f"no question{of} waits for an answer")
    return asked


def _received(receipt: Mapping[str, object]) -> Text:
    if receipt.get("delivered"):
        return Text("✓ Codex has the answer", "green")
    return Text("✓ the answer is stored, and on its way to Codex", "green")


# --- From the command line -----------------------------------------------------------------------


def _stated(asked: InteractionView, given: Given) -> Arguments:
    said: dict[str, object] = {}
    if given.decision is not None:
        name = "decision_payload" if given.decision.startswith("{") else "decision"
        said[name] = _object("--decision", given.decision) if name != "decision" else given.decision
    if given.answers:
        said["answers"] = _by_question(asked, given.answers)
    if given.content is not None:
        said["content"] = _object("--content", given.content)
        if given.decision is not None:  # of a form, the decision is an action
            said["action"] = said.pop("decision", None)
        else:
            said["action"] = "accept"
    return said


def _by_question(asked: InteractionView, stated: Sequence[str]) -> dict[str, list[str]]:
    """`ID=TEXT` for each, or only the text where one thing is asked."""
    ids = [one.id for one in asked.questions]
    answers: dict[str, list[str]] = {}
    for one in stated:
        id_, equals, text = one.partition("=")
        if not (equals and id_ in ids):
            if len(ids) != 1:
                raise InvalidArgument(f"--answer takes ID=TEXT; the ids are: {', '.join(ids)}")
            id_, text = ids[0], one
        answers.setdefault(id_, []).append(text)
    return answers


def _object(option: str, text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"{option} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidArgument(f"{option} must be a JSON object")
    return value


# --- From a person -------------------------------------------------------------------------------


async def _said(asked: InteractionView, console: Console) -> Arguments | None:
    if asked.kind is Kind.USER_INPUT:
        answers: dict[str, object] = {}
        for one in asked.questions:
            if (text := await _answer(one, console)) is None:
                return None
            answers[one.id] = text
        return {"answers": answers}
    choice = await _choice(decision_names(asked), console)
    if choice is None:
        return None
    decision = asked.available_decisions[choice]
    if decision == "accept" and (fields := _fields(asked)):
        content = await _form(fields, console)
        return None if content is None else {"action": "accept", "content": content}
    named = "decision" if isinstance(decision, str) else "decision_payload"
    return {named: decision}


async def _choice(names: Sequence[str], console: Console) -> int | None:
    """Which of these: by its number, or its name as far as that is unambiguous."""
    for number, name in enumerate(names, 1):
        console.print(Text.assemble((f"  {number}  ", "bold"), name))
    while typed := await _typed("Your decision (nothing leaves it open)", console):
        if typed.isdecimal() and 1 <= int(typed) <= len(names):
            return int(typed) - 1
        matching = [number for number, name in enumerate(names) if name == typed] or [
            number for number, name in enumerate(names) if name.startswith(typed)
        ]
        if len(matching) == 1:
            return matching[0]
        console.print(Text(f"That is none of them: type 1 to {len(names)}, or a name.", "yellow"))
    return None


async def _answer(wanted: QuestionView, console: Console) -> str | None:
    """A text, or the label of an option by its number."""
    console.print(Text(plain(wanted.question), "bold"))
    if wanted.is_secret:
        return getpass("  » ", stream=sys.stderr) or None
    typed = await _typed("Number or text (nothing leaves it open)", console)
    if typed and typed.isdecimal() and 1 <= int(typed) <= len(wanted.options):
        return wanted.options[int(typed) - 1].label
    return typed


def _fields(asked: InteractionView) -> Mapping[str, Mapping[str, object]]:
    """The fields of a form, each with its schema."""
    schema = (asked.details or {}).get("requestedSchema")
    fields = schema.get("properties") if isinstance(schema, Mapping) else None
    return fields if isinstance(fields, Mapping) else {}


async def _form(
    fields: Mapping[str, Mapping[str, object]], console: Console
) -> dict[str, object] | None:
    """Its fields, filled in; what is left empty is left out. Codex's server checks them."""
    content: dict[str, object] = {}
    for name, schema in fields.items():
        says = plain(str(schema.get("description") or schema.get("title") or schema.get("type")))
        typed = await _typed(f"{plain(name)} ({says})", console)
        if typed is None:
            return None
        if typed:
            content[name] = _as_field(typed, schema.get("type"))
    return content


def _as_field(typed: str, kind: object) -> object:
    """What was typed, as JSON where the form wants a number or a yes or no."""
    if kind not in ("boolean", "number", "integer"):
        return typed
    try:
        return json.loads({"yes": "true", "no": "false"}.get(typed.lower(), typed))
    except ValueError:
        return typed


async def _typed(asks: str, console: Console) -> str | None:
    console.print(Text.assemble((asks, "dim"), "  » "), end="")
    return await typed_line()
