"""What all pages share: the desk, the templates, and how forms are read and errors are said."""

import hashlib
import logging
import mimetypes
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import parse_qs

import anyio
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.doors.web import words
from codex_control_plane_mcp.doors.web.keys import Keys
from codex_control_plane_mcp.doors.web.markdown import as_diff, as_html
from codex_control_plane_mcp.errors import (
    Conflict,
    ControlPlaneError,
    InvalidArgument,
    NotFound,
    StateBusy,
)

logger = logging.getLogger(__name__)

_HERE: Final = Path(__file__).parent
#: The longest form: a message of the contract's length, escaped.
MAX_FORM_BYTES: Final = 1_500_000
MAX_FIELDS: Final = 100

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
#: By name; of a field that is given twice, all values.
Form: TypeAlias = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Said:
    """What came of a form, in words, and where to go on."""

    words: str
    #: Below the page's folder; None: stay.
    go: str | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    type: str
    #: Names the content: a changed file has another address.
    version: str


class Site:
    """One for each worker."""

    def __init__(
        self, desk: Desk, keys: Keys, leaving: anyio.Event, count: Callable[[int], None]
    ) -> None:
        self.desk = desk
        self.keys = keys
        #: Set when the worker leaves: who listens is told.
        self.leaving = leaving
        self.count = count
        #: Tells this worker from the one before it.
        self.worker = secrets.token_hex(4)
        self.base = f"/{keys.place}/"
        self.assets = _load_assets()
        self.release = hashlib.sha256(
            "".join(asset.version for asset in self.assets.values()).encode()
        ).hexdigest()[:12]
        self._templates = self._environment()

    @property
    def is_read_only(self) -> bool:
        return self.desk.settings.web == "read-only"

    def _environment(self) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=words.presentable,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {**words.FILTERS, "markdown": as_html, "diff": as_diff}
        environment.tests |= words.TESTS
        environment.globals |= {
            "base": self.base,
            "asset": lambda name: f"{self.base}assets/{name}?v={self.assets[name].version}",
            "version": __version__,
            "release": self.release,
            "worker": self.worker,
            "read_only": self.is_read_only,
            "state": str(self.desk.settings.state_db),
        }
        return environment

    def render(self, template: str, **context: object) -> str:
        return self._templates.get_template(template).render(context)

    async def page(
        self, request: Request, template: str, *, status: int = 200, **context: object
    ) -> Response:
        """A whole page, with what stands on each of them."""
        waiting = await self.desk.overview.waiting()
        html = self.render(
            template,
            waiting=waiting,
            token=self.keys.form_token(request.state.session),
            here=request.url.path.removeprefix(self.base),
            **context,
        )
        return HTMLResponse(html, status)

    # --- Endpoints -------------------------------------------------------------------------------

    def reads(self, handler: Endpoint) -> Endpoint:
        """An endpoint that shows something, and says what is wrong on a page."""

        async def endpoint(request: Request) -> Response:
            try:
                return await handler(request)
            except ControlPlaneError as error:
                return await self._sorry(request, error)
            except Exception:
                logger.exception("%s failed", request.url.path)
                return await self._sorry(request, _broken())

        return endpoint

    def writes(self, handler: Callable[[Request, Form], Awaitable[Said]]) -> Endpoint:
        """An endpoint that a form is sent to. Nothing is done without the session's form token."""

        async def endpoint(request: Request) -> Response:
            try:
                form = await _read_form(request)
                (token,) = form.get("token", [""])
                if not self.keys.is_form_token(request.state.session, token):
                    return _told(request, Said("This form is too old: load the page again."), 403)
                if self.is_read_only:
                    return _told(
                        request, Said("This page is read-only: CODEX_MCP_WEB says so."), 403
                    )
                return self._done(request, await handler(request, form))
            except ControlPlaneError as error:
                return _told(request, Said(error.message), _code(error))
            except Exception:
                logger.exception("%s failed", request.url.path)
                return _told(request, Said(_broken().message), 500)

        return endpoint

    def _done(self, request: Request, done: Said) -> Response:
        if _wants_json(request):
            return _told(request, done, 200, None if done.go is None else self.base + done.go)
        # Without scripts: back to a page, whose state says what became of it.
        return RedirectResponse(self.base + (done.go or ""), 303)

    async def _sorry(self, request: Request, error: ControlPlaneError) -> Response:
        code = _code(error)
        try:
            return await self.page(request, "error.html", status=code, error=error)
        except ControlPlaneError:  # the book does not answer
            return Response(f"{error.message}\n", 503, media_type="text/plain")


def one(form: Form, name: str) -> str:
    """A field, or nothing. Line ends are those of a text, not of a form."""
    return form.get(name, [""])[0].replace("\r\n", "\n")


def _broken() -> ControlPlaneError:
    return StateBusy("something went wrong here, and is in the log; try again")


def _code(error: ControlPlaneError) -> int:
    match error:
        case NotFound():
            return 404
        case InvalidArgument():
            return 400
        case Conflict():
            return 409
        case _:
            return 503


def _wants_json(request: Request) -> bool:
    return request.headers.get("accept", "").startswith("application/json")


def _told(request: Request, done: Said, code: int, go: str | None = None) -> Response:
    message = str(words.presentable(done.words))
    if _wants_json(request):
        return JSONResponse({"said": message, "go": go}, code)
    return Response(f"{message}\n", code, media_type="text/plain")


async def _read_form(request: Request) -> Form:
    """Raises InvalidArgument for what no form of ours sends."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise InvalidArgument("the form is too long")
    try:
        return parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as error:
        raise InvalidArgument("this is not a form of this page") from error


def _load_assets() -> dict[str, Asset]:
    """By name. They are few and small, and what is not among them does not exist."""
    found = {}
    for path in sorted((_HERE / "assets").iterdir()):
        content = path.read_bytes()
        type_ = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        version = hashlib.sha256(content).hexdigest()[:12]
        found[path.name] = Asset(content, type_, version)
    return found
