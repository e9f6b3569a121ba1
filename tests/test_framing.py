"""However bytes arrive, the same lines come out; what is no message gets the error it deserves."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codex_control_plane_mcp import framing
from codex_control_plane_mcp.framing import OVERSIZED, LineSplitter, Malformed, Oversized

LIMIT = 5

#: Streams full of line ends, with lines on both sides of the limit.
streams = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b" ", b"ab", b"abcd", b"abcdefgh"])).map(
    b"".join
)


def split(stream: bytes, cuts: list[int]) -> tuple[list[bytes | Oversized], bytes | None]:
    splitter = LineSplitter(LIMIT)
    lines: list[bytes | Oversized] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        lines += splitter.feed(stream[start:end])
    half = splitter.finish()
    return lines, half


@given(streams, st.lists(st.integers(min_value=0)))
def test_any_chunking_yields_the_same_lines(stream: bytes, cuts: list[int]) -> None:
    *whole, last = stream.split(b"\n")
    expected = [clean(line) for line in whole if clean(line) is not None]
    lines, half = split(stream, cuts)
    if clean(last) is OVERSIZED and lines[len(expected) :] == [OVERSIZED]:
        # A line that grows too long may be reported before its end is seen, but only once.
        lines.pop()
    assert lines == expected
    assert half == (None if clean(last) is OVERSIZED else clean(last))


def clean(line: bytes) -> bytes | Oversized | None:
    line = line.removesuffix(b"\r")
    if len(line) > LIMIT:
        return OVERSIZED
    return line if line.strip() else None


def test_a_long_line_is_reported_once_and_its_neighbours_are_kept() -> None:
    assert split(b"one\n123456\ntwo\n", []) == ([b"one", OVERSIZED, b"two"], None)


def test_a_long_line_takes_no_memory_while_it_is_discarded() -> None:
    splitter = LineSplitter(LIMIT)
    reports = [line for _ in range(1000) for line in splitter.feed(b"x" * 1000)]
    assert reports == [OVERSIZED]
    assert len(splitter._unfinished) == 0


def test_the_half_line_at_the_end_is_given_on_its_own() -> None:
    assert split(b"one\nhal", []) == ([b"one"], b"hal")


def test_an_object_is_parsed() -> None:
    assert framing.parse('{"id": "ü"}'.encode()) == {"id": "ü"}


@pytest.mark.parametrize(
    "line",
    [b"{", b"nope", b'{"a": NaN}', b"\xff{}", b'"\\x"', "{}".encode("utf-16"), b"1" * 5000],
)
def test_what_is_not_json_is_a_parse_error(line: bytes) -> None:
    assert error_of(line)["code"] == -32700


def test_json_nested_ten_thousand_deep_is_a_parse_error() -> None:
    assert error_of(b"[" * 10_000 + b"]" * 10_000)["code"] in (-32700, -32600)
    assert error_of(b'{"a":' * 100_000)["code"] == -32700


#: Texts that are JSON, nearly JSON, and what only Python calls JSON.
scraps = st.lists(
    st.sampled_from(
        [
            *('{"a":', '{"a": 1, "a": 2}', "}", "[", "]", ",", " ", "\n", "NaN", "-Infinity"),
            *("1", "-0", "1.5e3", "1e999", "01", "9" * 5000, "true", "null", '"', '"\\ud800"'),
            '"\t"',
        ]
    ),
    max_size=6,
).map("".join)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def outcome(read: Callable[[], object]) -> tuple[object, str]:
    try:
        return read(), ""
    except ValueError as error:
        return None, str(error)


def strictly(text: str) -> object:
    def refuse(name: str) -> object:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(scraps | json_values.map(json.dumps))
def test_a_text_is_read_as_json_reads_it_or_refused_in_the_same_words(text: str) -> None:
    expected = outcome(lambda: strictly(text))
    assert outcome(lambda: framing._read(text)) == expected
    with no_native():
        assert outcome(lambda: framing._read(text)) == expected


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(json_values)
def test_a_value_is_written_as_json_writes_it(value: object) -> None:
    written = framing.compact(value)
    assert written == json.dumps(value, separators=(",", ":")).encode()
    with no_native():
        assert framing.compact(value) == written


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": b"bytes"}])
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        framing.compact(value)


def test_the_pipe_starts_without_what_the_json_module_brings() -> None:
    """`json` with `re` and `enum` takes half of the milliseconds that the pipe has."""
    program = (
        "import sys; before = set(sys.modules); import codex_control_plane_mcp.pipe as pipe; "
        "pipe.framing.compact(pipe.framing.parse(b'{}')); "
        "print({'json', 're', 'enum'} & (set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "set()"


@contextmanager
def no_native() -> Iterator[None]:
    """As on a Python that is not CPython."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "native", None)
        patch.setattr(framing, "_scan", None)
        yield


@pytest.mark.parametrize("line", [b"7", b"null", b'"text"', b"[]", b'[{"jsonrpc":"2.0"}]'])
def test_json_that_is_not_an_object_is_an_invalid_request(line: bytes) -> None:
    assert error_of(line)["code"] == -32600


def test_error_lines_are_one_line_of_ascii_with_the_id_asked_for() -> None:
    line = framing.error_line("a\u2028b", -32603, "so\nit was")
    assert line.isascii()
    assert b"\n" not in line
    assert json.loads(line) == {
        "jsonrpc": "2.0",
        "id": "a\u2028b",
        "error": {"code": -32603, "message": "so\nit was"},
    }


def test_a_long_line_is_answered_with_the_limit() -> None:
    answer = json.loads(framing.line_too_long())
    assert answer["error"]["code"] == -32600
    assert str(framing.MAX_LINE_BYTES) in answer["error"]["message"]


def error_of(line: bytes) -> dict[str, object]:
    with pytest.raises(Malformed) as caught:
        framing.parse(line)
    answer = json.loads(caught.value.answer)
    assert answer["id"] is None
    error = answer["error"]
    assert isinstance(error, dict)
    return error
