"""Inbox: what Codex asks people, and what was answered by whom."""

import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codex_control_plane_mcp.desk.interactions import Given
from codex_control_plane_mcp.doors.web.guard import caller
from codex_control_plane_mcp.doors.web.site import Form, Said, Site, one
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import InteractionId


def routes(site: Site) -> list[Route]:
    async def inbox(request: Request) -> Response:
        return await site.page(request, "inbox.html", inbox=await site.desk.overview.inbox())

    async def answer(request: Request, form: Form) -> Said:
        id_ = InteractionId(request.path_params["id"])
        receipt = await site.desk.answer(Given(id_, _answer(form), caller(request)))
        if receipt.delivered:
            return Said("Codex has your answer.", "inbox")
        return Said("Your answer is stored and on its way to Codex.", "inbox")

    return [
        Route("/inbox", site.reads(inbox)),
        Route("/inbox/{id}", site.writes(answer), methods=["POST"]),
    ]


def _answer(form: Form) -> dict[str, object]:
    """The answer that a form holds, as the desk wants it. Whether it is on offer is the desk's."""
    if action := one(form, "action"):
        return (
            {"action": action, "content": _content(form)}
            if action == "accept"
            else {"action": action}
        )
    if decision := one(form, "decision"):
        try:
            return {"decision": json.loads(decision)}
        except ValueError as error:
            raise InvalidArgument("decision is none that this page offers") from error
    return {"answers": _answers(form)}


def _answers(form: Form) -> dict[str, list[str]]:
    """By question: the words that were typed, else the option that was chosen."""
    ids = [name.removeprefix("chosen:") for name in form if name.startswith("chosen:")]
    ids += [name.removeprefix("typed:") for name in form if name.startswith("typed:")]
    given = {}
    for id_ in dict.fromkeys(ids):
        words = one(form, f"typed:{id_}") or one(form, f"chosen:{id_}")
        if not words:
            raise InvalidArgument("answer each question: choose an option, or type your answer")
        given[id_] = [words]
    return given


def _content(form: Form) -> dict[str, object]:
    """A form that an MCP server asked for: each field by the type that its schema names."""
    content: dict[str, object] = {}
    for name, (value, *_) in form.items():
        kind, _, field = name.partition(":")
        match kind:
            case "string" if value:
                content[field] = value
            case "boolean":
                content[field] = value == "true"
            case "number" | "integer" if value:
                content[field] = _number(value, field)
            case _:
                pass
    return content


def _number(value: str, field: str) -> int | float:
    try:
        return int(value) if value.lstrip("-").isdecimal() else float(value)
    except ValueError as error:
        raise InvalidArgument(f"{field} must be a number", field=field) from error
