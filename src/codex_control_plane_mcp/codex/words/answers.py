"""Answers to what Codex asks, in its shapes, and only what is on offer.

Each builder raises `NotOnOffer` naming the offer; nothing is guessed or widened. Sending is not
done here.
"""

import json
from collections.abc import Mapping, Sequence

from codex_control_plane_mcp.codex.words.questions import (
    Answerable,
    CommandApproval,
    ElicitationRequested,
    FileChangeApproval,
    LegacyExecApproval,
    LegacyPatchApproval,
    PermissionsApproval,
    Question,
    UserInputRequested,
)
from codex_control_plane_mcp.codex.words.reading import inner, listed, objects, present
from codex_control_plane_mcp.rpc.values import Json, JsonObject, Sendable

Payload = Mapping[str, Sendable]
Decidable = CommandApproval | FileChangeApproval | LegacyExecApproval | LegacyPatchApproval


class NotOnOffer(ValueError):
    """The answer is none of those that Codex offers; the message names them."""


def decide(request: Decidable, decision: object) -> Payload:
    """The answer to an approval: a decision's name, or the whole offered object."""
    for offer in request.available_decisions:
        if decision in (offer, decision_name(offer)):
            return {"decision": _on_the_wire(request, offer)}
    raise NotOnOffer(f"decision must be one of: {', '.join(decision_names(request))}")


def decision_names(request: Decidable) -> tuple[str, ...]:
    """The names of the decisions on offer."""
    return tuple(decision_name(offer) for offer in request.available_decisions)


def decision_name(offer: Json) -> str:
    """`"accept"` or `{"acceptWithExecpolicyAmendment": ...}`: the name in both spellings."""
    return next(iter(offer), "") if isinstance(offer, dict) else str(offer)


def _on_the_wire(request: Decidable, decision: Json) -> Json:
    match request:
        case CommandApproval() | FileChangeApproval():
            return decision
        case LegacyExecApproval() | LegacyPatchApproval():
            return _LEGACY[decision_name(decision)]


_LEGACY: dict[str, Json] = {
    "accept": "approved",
    "acceptForSession": "approved_for_session",
    "decline": {"denied": {"rejection": "declined by the user"}},
    "cancel": "abort",
}


def grant(request: PermissionsApproval, permissions: object, scope: str = "turn") -> Payload:
    """The answer to a permissions request: `permissions` is what was asked for, or less of it."""
    if scope not in ("turn", "session"):
        raise NotOnOffer("scope must be one of: turn, session")
    if not isinstance(permissions, dict) or not _within(permissions, request.permissions):
        raise NotOnOffer(f"permissions must be within: {json.dumps(request.permissions)}")
    return {"permissions": permissions, "scope": scope}


def _within(granted: JsonObject, asked: JsonObject) -> bool:
    """Whether `granted` is `asked` with some permissions left out, and no prohibition."""
    if not set(granted) <= {"network", "fileSystem"}:
        return False
    network, files = granted.get("network"), granted.get("fileSystem")
    return (network is None or network == asked.get("network")) and (
        files is None or _files_within(files, inner(asked, "fileSystem"))
    )


def _files_within(granted: Json, asked: JsonObject) -> bool:
    if not isinstance(granted, dict) or not set(granted) <= set(asked):
        return False
    # To drop a `deny` or the depth of a pattern would widen what is left.
    denied = [entry for entry in objects(asked, "entries") if entry.get("access") == "deny"]
    kept = listed(granted, "entries")
    if not all(entry in kept for entry in denied):
        return False
    if granted.get("globScanMaxDepth") != asked.get("globScanMaxDepth"):
        return False
    lists = ("read", "write", "entries")
    return all(entry in listed(asked, key) for key in lists for entry in listed(granted, key))


def reply(request: UserInputRequested, answers: Mapping[str, str | Sequence[str]]) -> Payload:
    """The answer to questions: every question by its id, with one of its options or own words."""
    questions = {question.id: question for question in request.questions}
    if set(answers) != set(questions):
        raise NotOnOffer(f"answers must be given for exactly: {', '.join(questions)}")
    return {
        "answers": {
            id_: {"answers": _checked(questions[id_], answer)} for id_, answer in answers.items()
        }
    }


def _checked(question: Question, answer: str | Sequence[str]) -> Sequence[str]:
    said = [answer] if isinstance(answer, str) else list(answer)
    labels = [option.label for option in question.options]
    if not said or (labels and not question.is_other and not set(said) <= set(labels)):
        raise NotOnOffer(
            f"{question.id} must be answered with one of: {', '.join(labels) or 'text'}"
        )
    return said


def elicited(
    request: ElicitationRequested,
    action: str,
    content: object = None,
    persist: str | None = None,
) -> Payload:
    """The answer to an elicitation; `content` only with `accept`, shaped as the schema asks."""
    if action not in ("accept", "decline", "cancel"):
        raise NotOnOffer("action must be one of: accept, decline, cancel")
    if action != "accept" and (content is not None or persist is not None):
        raise NotOnOffer("content and persist go with the action accept only")
    if persist is not None and persist not in request.persist_offers:
        offers = ", ".join(request.persist_offers) or "nothing: leave it out"
        raise NotOnOffer(f"persist must be one of: {offers}")
    if content is not None and not isinstance(content, dict):
        raise NotOnOffer("content must be an object")
    if action == "accept":
        _check_content(request.requested_schema, content or {})
    meta = None if persist is None else {"persist": persist}
    return {"action": action, "content": content, **present(_meta=meta)}


def _check_content(schema: JsonObject, content: JsonObject) -> None:
    fields = inner(schema, "properties")
    missing = [name for name in listed(schema, "required") if name not in content]
    unknown = [name for name in content if fields and name not in fields]
    if missing or unknown:
        raise NotOnOffer(f"content must have {listed(schema, 'required')} of: {list(fields)}")
    for name, value in content.items():
        choices = listed(inner(fields, name), "enum")
        if choices and value not in choices:
            raise NotOnOffer(f"{name} must be one of: {choices}")


def declining(request: Answerable) -> Payload | None:
    """The answer that grants nothing; `None` where Codex has no such answer but an error.

    For everything that ends without a person: time-outs, policy, a cancelled operation.
    """
    match request:
        case (
            CommandApproval() | FileChangeApproval() | LegacyExecApproval() | LegacyPatchApproval()
        ):
            return {"decision": _on_the_wire(request, "decline")}
        case PermissionsApproval():
            return {"permissions": {}, "scope": "turn"}
        case ElicitationRequested():
            return {"action": "decline", "content": None}
        case UserInputRequested():
            return None
