"""Spans for OpenTelemetry, where an exporter is configured and its packages are installed.

A tool call is the parent of the operation that it made, and that of its turn. Off, which is the
default, nothing is imported, made or kept. Attributes are ids, kinds and ends: no text of
anybody's, no path, no message of an error.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib import metadata
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

from codex_control_plane_mcp import __version__

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanContext, Tracer

logger = logging.getLogger(__name__)

SERVICE: Final = "codex-control-plane-mcp"
#: Leaving, what was not exported yet is waited for this long.
FLUSH_SECONDS: Final = 2.0
#: So many operations remember the call that made them; they are taken up in this order, or nearly.
ORIGINS_KEPT: Final = 10_000


class Span(Protocol):
    """Something that is being done; it is the parent of whatever is begun meanwhile."""

    def __enter__(self) -> Span: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def tell(self, name: str, value: str) -> None:
        """Add an attribute."""

    def fail(self, kind: str) -> None:
        """It has gone wrong, in this way."""


# --- On and off ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _On:
    tracer: Tracer
    origins: OrderedDict[str, SpanContext] = field(default_factory=OrderedDict)


_on: _On | None = None


@contextmanager
def exporting(environ: Mapping[str, str]) -> Iterator[None]:
    """Meanwhile spans are exported as the OTEL_* variables say, if they ask for any."""
    exporter = _exporter(environ)
    with nullcontext() if exporter is None else exporting_to(exporter):
        yield


@contextmanager
def exporting_to(exporter: SpanExporter) -> Iterator[None]:
    """Meanwhile spans go to `exporter`. The rest is as the OTEL_* variables say."""
    global _on
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = Resource({"service.name": SERVICE, "service.version": __version__})
    provider = TracerProvider(
        resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    # Not the process's own provider: what libraries say of themselves is not ours to export.
    _on = _On(provider.get_tracer(SERVICE, __version__))
    try:
        yield
    finally:
        _on = None
        # A collector that does not answer must not keep a worker from leaving.
        flush = Thread(target=provider.shutdown, daemon=True)
        flush.start()
        flush.join(FLUSH_SECONDS)


def _exporter(environ: Mapping[str, str]) -> SpanExporter | None:
    name = _wanted(environ)
    if name is None:
        return None
    if name == "console":
        logger.warning("no spans: the exporter `console` would write where MCP is spoken")
        return None
    try:
        import opentelemetry.sdk.trace.export  # noqa: F401  # whether it is there

        (found,) = metadata.entry_points(group="opentelemetry_traces_exporter", name=name)
        exporter: SpanExporter = found.load()()
    except (ImportError, ValueError):
        logger.warning(
            "no spans: the OpenTelemetry SDK or its exporter %s is not installed; "
            "pip install '%s[otel]' brings both",
            name,
            SERVICE,
        )
        return None
    except Exception:
        logger.exception("no spans: the exporter %s cannot be set up", name)
        return None
    logger.info("spans go to the exporter %s", name)
    return exporter


def _wanted(environ: Mapping[str, str]) -> str | None:
    """The exporter's name among the entry points of OpenTelemetry."""
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    name = environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    if name == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if name != "otlp":
        return name
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"


# --- Spans ---------------------------------------------------------------------------------------


def span(name: str, attributes: Mapping[str, str]) -> Span:
    """Something that is done as a part of what is being done."""
    return _OFF if _on is None else _Live(_on.tracer, name, attributes, None)


def span_of_operation(operation_id: str, name: str, attributes: Mapping[str, str]) -> Span:
    """Work on an operation: a part of the call that made it, if this process served that."""
    if _on is None:
        return _OFF
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    origin = _on.origins.get(operation_id)
    nothing = Context()
    parent = nothing if origin is None else set_span_in_context(NonRecordingSpan(origin), nothing)
    return _Live(_on.tracer, name, attributes, parent)


def made(operation_id: str) -> None:
    """What is being done has made this operation."""
    if _on is None:
        return
    from opentelemetry.trace import get_current_span

    present = get_current_span().get_span_context()
    if present.is_valid:
        _on.origins[operation_id] = present
        if len(_on.origins) > ORIGINS_KEPT:
            _on.origins.popitem(last=False)


def continuing(carrier: Mapping[str, object] | None) -> AbstractContextManager[None]:
    """What is done meanwhile is a part of what a client does, if it says so in W3C's way."""
    return _NOTHING if _on is None or not carrier else _continuing(carrier)


@contextmanager
def _continuing(carrier: Mapping[str, object]) -> Iterator[None]:
    from opentelemetry.context import attach, detach
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    said = {name: value for name, value in carrier.items() if isinstance(value, str)}
    token = attach(TraceContextTextMapPropagator().extract(said))
    try:
        yield
    finally:
        detach(token)


class _Off:
    """The span of whom nobody traces: one for all."""

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, name: str, value: str) -> None:
        pass

    def fail(self, kind: str) -> None:
        pass


_OFF: Final = _Off()
_NOTHING: Final = nullcontext()


class _Live:
    def __init__(
        self, tracer: Tracer, name: str, attributes: Mapping[str, str], parent: Context | None
    ) -> None:
        self._span: OtelSpan = tracer.start_span(name, parent, attributes=attributes)
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        from opentelemetry.context import attach
        from opentelemetry.trace import set_span_in_context

        self._token = attach(set_span_in_context(self._span))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        from opentelemetry.context import detach

        # To be cancelled is no failure.
        if isinstance(error, Exception):
            self.fail(type(error).__name__)
        self._span.end()
        if self._token is not None:
            detach(self._token)

    def tell(self, name: str, value: str) -> None:
        self._span.set_attribute(name, value)

    def fail(self, kind: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)
