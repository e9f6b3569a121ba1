"""What Codex asks, shown to people; and what people say, in Codex's words.

The desk builds an answer to see whether it is on offer, the workshop builds it again to send it:
both call `build_answer`, so that nothing is accepted that cannot be delivered. Neither storing nor
sending is done here.
"""

import json
from collections.abc import Mapping, Sequence

from codex_control_plane_mcp.codex.words.answers import (
    Decidable,
    NotOnOffer,
    Payload,
    decide,
    decision_name,
    declining,
    elicited,
    grant,
    reply,
)
from codex_control_plane_mcp.codex.words.questions import (
    Answerable,
    CommandApproval,
    ElicitationRequested,
    FileChangeApproval,
    LegacyExecApproval,
    LegacyPatchApproval,
    NotOurs,
    PermissionsApproval,
    UserInputRequested,
    method_of,
    read_server_request,
)
from codex_control_plane_mcp.codex.words.reading import flag, inner, objects, texts
from codex_control_plane_mcp.codex.words.things import ChangedFile
from codex_control_plane_mcp.model.ids import AppServerId
from codex_control_plane_mcp.model.interaction import Asked, Kind, Option, Question
from codex_control_plane_mcp.redact import redact_json
from codex_control_plane_mcp.rpc.values import Json, JsonObject

Given = Mapping[str, object]

#: A change that is longer is shown to here; nobody reads on, and the book keeps it for ever.
MAX_DIFF_CHARS = 200_000

# --- Answers -------------------------------------------------------------------------------------


def build_answer(request: Answerable, given: Given) -> Payload:
    """What to send to Codex for the answer `given` by a person, as JSON data: `{decision}`,
    `{answers}`, `{permissions, scope}` or `{action, content, persist}`.

    Raises NotOnOffer naming the offer.
    """
    match request:
        case (
            CommandApproval() | FileChangeApproval() | LegacyExecApproval() | LegacyPatchApproval()
        ):
            _expect(given, ("decision",), request)
            return decide(request, _offer(request, given.get("decision")))
        case PermissionsApproval():
            return _permitted(request, given)
        case UserInputRequested():
            _expect(given, ("answers",), request)
            return reply(request, _words(given.get("answers")))
        case ElicitationRequested():
            return _elicited(request, given)


def decisions_on_offer(request: Answerable) -> tuple[Json, ...]:
    """What may be given as `decision`; empty where words are wanted."""
    match request:
        case (
            CommandApproval() | FileChangeApproval() | LegacyExecApproval() | LegacyPatchApproval()
        ):
            return request.available_decisions
        case PermissionsApproval():
            return ("accept", "acceptForSession", "decline")
        case ElicitationRequested():
            remembered = "session" in request.persist_offers
            return ("accept", *(("acceptForSession",) if remembered else ()), "decline", "cancel")
        case UserInputRequested():
            return ()


def _offer(request: Decidable, said: object) -> Json:
    """The one offer that `said` means: a name, or the object as it was shown (secrets masked).

    Codex may offer one name twice, once to allow and once to deny: then only the object will do.
    """
    named = [offer for offer in request.available_decisions if decision_name(offer) == said]
    shown = [offer for offer in request.available_decisions if said in (offer, redact_json(offer))]
    match named, shown:
        case [[offer], _] | [_, [offer, *_]]:
            return offer
        case [[_, _, *_], _]:
            raise NotOnOffer(f"{said} is offered more than once: give the whole object instead")
        case _:
            offered = ", ".join(_spelled(offer) for offer in request.available_decisions)
            raise NotOnOffer(f"decision must be one of: {offered}")


def _spelled(offer: Json) -> str:
    return offer if isinstance(offer, str) else json.dumps(offer, ensure_ascii=False)


def _permitted(request: PermissionsApproval, given: Given) -> Payload:
    if "decision" not in given:
        _expect(given, ("permissions", "scope"), request)
        scope = given.get("scope")
        return grant(request, given.get("permissions"), "turn" if scope is None else str(scope))
    _expect(given, ("decision",), request)
    match given["decision"]:
        case "accept":
            return grant(request, request.permissions)
        case "acceptForSession":
            return grant(request, request.permissions, "session")
        case "decline":
            return declining(request) or {}
        case _:
            raise NotOnOffer(
                "decision must be one of: accept, acceptForSession, decline; or give permissions "
                "and scope to grant less"
            )


def _elicited(request: ElicitationRequested, given: Given) -> Payload:
    if "decision" not in given:
        _expect(given, ("action", "content", "persist"), request)
        persist = given.get("persist")
        return elicited(
            request,
            str(given.get("action")),
            given.get("content"),
            None if persist is None else str(persist),
        )
    _expect(given, ("decision", "content"), request)
    decision, content = given["decision"], given.get("content")
    if decision not in decisions_on_offer(request):
        offered = ", ".join(map(str, decisions_on_offer(request)))
        raise NotOnOffer(f"decision must be one of: {offered}")
    if decision == "acceptForSession":
        return elicited(request, "accept", content, "session")
    return elicited(request, str(decision), content)


def _words(said: object) -> Mapping[str, str | Sequence[str]]:
    wrong = NotOnOffer("answers must be an object: a text or a list of texts for each question id")
    if not isinstance(said, dict):
        raise wrong
    for answer in said.values():
        several = isinstance(answer, list) and all(isinstance(one, str) for one in answer)
        if not isinstance(answer, str) and not several:
            raise wrong
    return said


_WANTED: dict[type[Answerable], str] = {
    CommandApproval: "a decision",
    FileChangeApproval: "a decision",
    LegacyExecApproval: "a decision",
    LegacyPatchApproval: "a decision",
    PermissionsApproval: "permissions and scope, or a decision",
    UserInputRequested: "answers",
    ElicitationRequested: "an action (with content where a form is asked for), or a decision",
}


def _expect(given: Given, known: Sequence[str], request: Answerable) -> None:
    """Refuse an answer of another kind, rather than guess what it means for this one."""
    if known[0] not in given or not set(given) <= set(known):
        raise NotOnOffer(f"this wants {_WANTED[type(request)]}, and nothing else")


# --- Questions -----------------------------------------------------------------------------------


def describe(
    request: Answerable, app_server_id: AppServerId, files: Sequence[ChangedFile] = ()
) -> Asked:
    """The request as a person must see it to judge it. `files` are what it would change, where the
    request itself does not say it."""
    return Asked(
        app_server_id=app_server_id,
        request_id=json.dumps(request.request_id),
        kind=_kind(request),
        method=method_of(request),
        thread_id=request.thread_id,
        turn_id=request.turn_id,
        item_id=request.item_id,
        prompt=_prompt(request),
        command=_command(request),
        cwd=_cwd(request),
        reason=_reason(request),
        available_decisions=decisions_on_offer(request),
        questions=_questions(request),
        risk_summary="; ".join(_risks(request)) or None,
        details={**request.raw, "changes": _changes(files)} if files else request.raw,
    )


def _changes(files: Sequence[ChangedFile]) -> list[Json]:
    left = MAX_DIFF_CHARS
    changes: list[Json] = []
    for file in files:
        diff = file.diff if len(file.diff) <= left else f"{file.diff[:left]}\n… (cut here)"
        left = max(0, left - len(file.diff))
        changes.append({"path": file.path, "kind": file.kind or "update", "diff": diff})
    return changes


def request_of(asked: Asked) -> Answerable:
    """The request that `describe` showed, as far as it was stored: its secrets are masked.

    Raises ValueError when the record holds no request that can be answered.
    """
    raw = asked.details if isinstance(asked.details, dict) else {}
    request = read_server_request(json.loads(asked.request_id), asked.method, raw)
    if isinstance(request, NotOurs):
        raise ValueError(f"{asked.method} on record is not a question that can be answered")
    return request


def _kind(request: Answerable) -> Kind:
    match request:
        case (
            CommandApproval() | FileChangeApproval() | LegacyExecApproval() | LegacyPatchApproval()
        ):
            return Kind.APPROVAL
        case PermissionsApproval():
            return Kind.PERMISSIONS
        case UserInputRequested():
            return Kind.USER_INPUT
        case ElicitationRequested():
            return Kind.APPROVAL if request.is_tool_approval else Kind.ELICITATION


def _prompt(request: Answerable) -> str:
    match request:
        case CommandApproval(network_host=str(host)):
            return f"May Codex reach {host}?"
        case CommandApproval() | LegacyExecApproval():
            return "May Codex run this command?"
        case FileChangeApproval():
            return "May Codex change these files?"
        case LegacyPatchApproval():
            return "May Codex change these files: " + ", ".join(f.path for f in request.files)
        case PermissionsApproval():
            return "May Codex have these permissions?"
        case UserInputRequested():
            return "\n".join(question.question for question in request.questions)
        case ElicitationRequested():
            return request.message


def _command(request: Answerable) -> str | None:
    match request:
        case CommandApproval() | LegacyExecApproval():
            return request.command
        case _:
            return None


def _cwd(request: Answerable) -> str | None:
    match request:
        case CommandApproval() | LegacyExecApproval() | PermissionsApproval():
            return request.cwd
        case _:
            return None


def _reason(request: Answerable) -> str | None:
    match request:
        case UserInputRequested() | ElicitationRequested():
            return None
        case _:
            return request.reason


def _questions(request: Answerable) -> tuple[Question, ...]:
    match request:
        case UserInputRequested():
            return tuple(
                Question(
                    id=question.id,
                    header=question.header,
                    text=question.question,
                    options=tuple(
                        Option(option.label, option.description) for option in question.options
                    ),
                    is_secret=question.is_secret,
                )
                for question in request.questions
            )
        case _:
            return ()


# --- Risks: facts of the request, never a guess about the command --------------------------------


def _risks(request: Answerable) -> list[str]:
    match request:
        case CommandApproval():
            return _command_risks(request)
        case LegacyExecApproval():
            return [_UNBOXED]
        case FileChangeApproval() | LegacyPatchApproval():
            grant_root = request.grant_root
            return [] if grant_root is None else [f"lets it write below {grant_root} from now on"]
        case PermissionsApproval():
            return _permission_risks(request.permissions)
        case ElicitationRequested() if request.is_tool_approval:
            return [f"calls a tool of the MCP server {request.server_name}"]
        case ElicitationRequested():
            opens = [f"opens {request.url}"] if request.url else []
            return [f"the answer goes to the MCP server {request.server_name}", *opens]
        case UserInputRequested():
            return []


_UNBOXED = "may run outside the sandbox"


def _command_risks(request: CommandApproval) -> list[str]:
    if request.network_host is not None:
        return [f"network to {request.network_host}"]
    return _permission_risks(request.additional_permissions) or [_UNBOXED]


def _permission_risks(permissions: JsonObject) -> list[str]:
    files = inner(permissions, "fileSystem")
    risks = [] if not flag(inner(permissions, "network"), "enabled") else ["network access"]
    if writes := _places(files, "write"):
        risks.append(f"writes below {', '.join(writes)}")
    if reads := _places(files, "read"):
        risks.append(f"reads below {', '.join(reads)}")
    return risks


def _places(files: JsonObject, access: str) -> list[str]:
    """The places in either of the two spellings: a list by access, or entries that name it."""
    entries = [entry for entry in objects(files, "entries") if entry.get("access") == access]
    named = [place for entry in entries for place in _named(entry.get("path"))]
    return [*texts(files, access), *named]


def _named(path: Json) -> list[str]:
    """A path, a pattern, or one of Codex's special places; whatever it is, it is shown."""
    match path:
        case str():
            return [path]
        case {"path": str(found)} | {"pattern": str(found)}:
            return [found]
        case None:
            return []
        case _:
            return [json.dumps(path, ensure_ascii=False)]
