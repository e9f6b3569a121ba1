"""Codex's questions as MCP forms, and forms that were filled in as answers.

A form shows what the inbox shows. What a form cannot show or must not ask (a secret, an address to
open, more than a dialog holds) is left to the inbox. Only what a person chose in it is an answer:
a form that was declined or put away is none, for some clients do that by themselves.
"""

from collections.abc import Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from mcp.types import ClientCapabilities, ElicitRequest, ElicitRequestFormParams, ElicitResult

from codex_control_plane_mcp.codex.words.answers import decision_name
from codex_control_plane_mcp.desk.views import InteractionView, QuestionView
from codex_control_plane_mcp.doors.mcp.fit import Json, compact
from codex_control_plane_mcp.doors.presentable import presentable_text
from codex_control_plane_mcp.model.interaction import Kind

#: More is judged in the inbox, where there is room for it.
MAX_MESSAGE_CHARS = 4_000
#: Clients show their own; some take a schema with one for a fault.
_NOT_PASSED_ON = frozenset({"title", "$schema"})


def takes_forms(capabilities: ClientCapabilities | None) -> bool:
    """Whether the client declared that it shows forms. A bare declaration means them."""
    declared = None if capabilities is None else capabilities.elicitation
    return declared is not None and (declared.form is not None or declared.url is None)


def form(asked: InteractionView) -> ElicitRequest | None:
    """The question as a form, if it can be one."""
    schema = _schema(asked)
    message = presentable_text(_message(asked))
    if schema is None or len(message) > MAX_MESSAGE_CHARS:
        return None
    return as_request(message, schema)


def as_request(message: str, schema: Json) -> ElicitRequest:
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def answer(asked: InteractionView, reply: ElicitResult) -> Mapping[str, object] | None:
    """The answer that was given, as the desk takes it; None for none."""
    content = reply.content or {}
    if reply.action != "accept":
        return None
    match asked.kind:
        case Kind.APPROVAL | Kind.PERMISSIONS:
            chosen = _choices(asked).get(str(content.get("decision")))
            return None if chosen is None else {"decision": chosen}
        case Kind.USER_INPUT:
            given = {one.id: str(content[one.id]) for one in asked.questions if one.id in content}
            return {"answers": given} if given else None
        case Kind.ELICITATION:
            # Some clients say yes to any form, and fill nothing in.
            fits = Draft202012Validator(_schema(asked) or {}).is_valid(content)
            return {"action": "accept", "content": content} if fits else None


def _schema(asked: InteractionView) -> Json | None:
    match asked.kind:
        case Kind.APPROVAL | Kind.PERMISSIONS:
            return choice(list(_choices(asked)))
        case Kind.USER_INPUT:
            if not asked.questions or any(one.is_secret for one in asked.questions):
                return None
            return _object({one.id: _field(one) for one in asked.questions})
        case Kind.ELICITATION:
            wanted = (asked.details or {}).get("requestedSchema")
            if not isinstance(wanted, dict):
                return None
            return {name: part for name, part in wanted.items() if name not in _NOT_PASSED_ON}


def choice(names: list[str]) -> Json:
    return _object({"decision": {"type": "string", "enum": names}})


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _field(question: QuestionView) -> Json:
    said = [question.question, *(f"{one.label}: {one.description}" for one in question.options)]
    field: Json = {
        "type": "string",
        "title": presentable_text(question.header),
        "description": presentable_text("\n".join(said)),
    }
    return {**field, "enum": [one.label for one in question.options]} if question.options else field


def _choices(asked: InteractionView) -> Mapping[str, object]:
    """What may be decided, by a name for each; by the whole of it where two have the same."""
    names = [decision_name(cast("Any", one)) for one in asked.available_decisions]
    return {
        name if names.count(name) == 1 else compact(one): one
        for name, one in zip(names, asked.available_decisions, strict=True)
    }


def _message(asked: InteractionView) -> str:
    if asked.kind is Kind.USER_INPUT:
        return "Codex asks:\n" + asked.prompt
    details = asked.details if asked.kind is not Kind.ELICITATION else None
    lines = {
        "": asked.prompt,
        "Command: ": asked.command,
        "Folder: ": asked.cwd,
        "Reason: ": asked.reason,
        "Risk: ": asked.risk_summary,
        "Details: ": None if details is None else compact(details),
    }
    return "\n".join(f"{label}{said}" for label, said in lines.items() if said)
