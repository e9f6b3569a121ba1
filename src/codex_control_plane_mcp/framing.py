"""MCP's stdio framing: one JSON value per line, and the answers to lines that are none.

Shared by the pipe and the worker, so that both call the same bytes a line. It knows JSON-RPC's
shape but none of its methods.
"""

from __future__ import annotations

# Not `json`: it brings `re` and `enum`, half of what the pipe needs to start (docs/performance.md).
try:
    import _json as native
except ImportError:  # Only CPython has it.
    native = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_LINE_BYTES = 8 * 1024 * 1024

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INTERNAL_ERROR = -32603


class Oversized:
    """Stands in the stream of lines for one that was longer than the limit; its text is gone."""

    __slots__ = ()


OVERSIZED = Oversized()


class LineSplitter:
    """Cuts a stream of bytes into lines, holding back at most one unfinished line.

    Lines end in LF or CRLF and are given without it; blank ones are skipped. However the stream is
    cut into chunks, the lines are the same.
    """

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._unfinished = bytearray()
        self._discarding = False

    def feed(self, chunk: bytes) -> list[bytes | Oversized]:
        first, *others = chunk.split(b"\n")
        lines: list[bytes | Oversized] = []
        self._extend(first, lines)
        for piece in others:
            self._end_line(lines)
            self._extend(piece, lines)
        return lines

    def finish(self) -> bytes | None:
        """The half line that the stream ended in, if it did; the splitter is empty afterwards."""
        lines: list[bytes | Oversized] = []
        self._end_line(lines)
        match lines:
            case [bytes() as half]:
                return half
            case _:  # nothing, or a long line whose `Oversized` was given already
                return None

    def _extend(self, piece: bytes, lines: list[bytes | Oversized]) -> None:
        if self._discarding or not piece:
            return
        self._unfinished += piece
        # One byte over may still be the CR of a line that just fits.
        if len(self._unfinished) > self._limit + 1:
            self._discard(lines)

    def _end_line(self, lines: list[bytes | Oversized]) -> None:
        line = bytes(self._unfinished).removesuffix(b"\r")
        if len(line) > self._limit:
            self._discard(lines)
        elif line and not line.isspace():
            lines.append(line)
        self._unfinished.clear()
        self._discarding = False

    def _discard(self, lines: list[bytes | Oversized]) -> None:
        lines.append(OVERSIZED)
        self._unfinished.clear()
        self._discarding = True


class Malformed(ValueError):
    """A line that is no JSON-RPC message; `answer` is the error line that it deserves."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer.decode("ascii"))
        self.answer = answer


def parse(line: bytes) -> dict[str, Any]:
    """The message on this line; `Malformed` when it is not one JSON object in UTF-8."""
    try:
        message = _read(line.decode("utf-8"))
    except RecursionError:
        raise Malformed(parse_error("the JSON is nested too deeply")) from None
    except ValueError as error:
        raise Malformed(parse_error(str(error))) from None
    if not isinstance(message, dict):
        kind = "a batch" if isinstance(message, list) else "not an object"
        raise Malformed(invalid_request(f"a message must be one JSON object; this is {kind}"))
    return message


def parse_error(why: str) -> bytes:
    return error_line(None, PARSE_ERROR, f"Parse error: {why}")


def invalid_request(why: str) -> bytes:
    return error_line(None, INVALID_REQUEST, f"Invalid request: {why}")


def line_too_long(limit: int = MAX_LINE_BYTES) -> bytes:
    return invalid_request(f"a line may have at most {limit} bytes; send large input in parts")


def error_line(request_id: str | int | float | None, code: int, message: str) -> bytes:
    error = {"code": code, "message": message}
    return compact({"jsonrpc": "2.0", "id": request_id, "error": error})


def compact(value: object) -> bytes:
    """JSON without white space, in ASCII: no encoding or line separator can break the framing."""
    if native is None:
        import json

        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
    encode = native.make_encoder(
        markers={},  # Filled with what it is in: a value that holds itself is an error.
        default=_refuse_value,
        encoder=native.encode_basestring_ascii,
        indent=None,
        key_separator=":",
        item_separator=",",
        sort_keys=False,
        skipkeys=False,
        allow_nan=False,
    )
    return "".join(encode(value, 0)).encode("ascii")


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _refuse_value(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not JSON")


class _Strictly:
    """How `json.JSONDecoder` reads, but for NaN and Infinity, which no other JSON reader takes."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


_scan = None
if native is not None:
    _scan = native.make_scanner(_Strictly)  # type: ignore[arg-type]  # it only takes what we have


def _read(text: str) -> object:
    """The one value in `text`. What the scanner does not read to the end without a word, `json`
    reads anew: it says what is wrong."""
    if _scan is not None:
        try:
            value, end = _scan(text, 0)
        except StopIteration:
            value, end = None, -1
        if end == len(text):
            return value
    import json

    return json.JSONDecoder(parse_constant=_refuse_constant).decode(text)
