"""Does this version of Codex still speak the language that we speak? Compared by its own schema.

Codex ignores fields that it does not know, so a sandbox under a new name would be lost in silence;
and an answer to an approval that it no longer understands may mean anything. Therefore a change in
what we send or in what Codex asks people refuses the version. What is merely not there any more, or
not yet, degrades it by name: everything else goes on.
"""

import hashlib
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from codex_control_plane_mcp.codex.errors import AppServerUnavailable
from codex_control_plane_mcp.codex.schema import Schema, Spy
from codex_control_plane_mcp.codex.words import events, questions, samples, things, verbs
from codex_control_plane_mcp.codex.words.answers import NotOnOffer
from codex_control_plane_mcp.codex.words.reading import Odd

#: It writes its files in 0.1 s; a cold disk has 360 MB to read first.
SCHEMA_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a version of Codex goes with us."""

    #: Changes that we could not work with: it is not used. Empty: it may be.
    refused: tuple[str, ...] = ()
    #: What is missing or different and hurts only itself.
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Methods:
    """The calls that a version of Codex takes, as its own schema lists them."""

    count: int
    #: Of their schema: the same for the same calls with the same arguments.
    hash: str


@dataclass(frozen=True, slots=True)
class Language:
    """What a binary says of its protocol."""

    fit: Fit
    #: `None`: the schema cannot be read here, which `fit` says too.
    methods: Methods | None


async def language_of(binary: Path, environ: Mapping[str, str], scratch: Path) -> Language:
    """Ask a binary for its schema and compare it with our words.

    Raises AppServerUnavailable when it cannot be asked: that says nothing about the version.
    """
    with tempfile.TemporaryDirectory(prefix="schema-", dir=scratch) as name:
        command = [str(binary), "app-server", "generate-json-schema", "--experimental"]
        try:
            with anyio.fail_after(SCHEMA_SECONDS):
                done = await anyio.run_process(
                    [*command, "--out", name],
                    check=False,
                    env=environ,
                    stderr=subprocess.STDOUT,
                )
        except TimeoutError:
            raise _mute(binary, f"no answer within {SCHEMA_SECONDS:g} s") from None
        except OSError as error:
            raise _mute(binary, str(error)) from error
        if done.returncode != 0:
            said = done.stdout[-2000:].decode(errors="replace").strip()
            raise _mute(binary, f"exit status {done.returncode}: {said or 'no output'}")
        return await anyio.to_thread.run_sync(_language, Path(name))


def _language(folder: Path) -> Language:
    return Language(compared(folder), listed(folder))


def _mute(binary: Path, why: str) -> AppServerUnavailable:
    return AppServerUnavailable(f"{binary} cannot say which protocol it speaks ({why})")


def compared(folder: Path) -> Fit:
    """The schema in `folder`, as `generate-json-schema` wrote it, against our words."""
    comparison = _Comparison(folder)
    try:
        comparison.compare()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return Fit((f"its schema cannot be read here ({type(error).__name__}: {error})",))
    return Fit(tuple(comparison.refused), tuple(comparison.degraded))


def listed(folder: Path) -> Methods | None:
    """The calls in the schema in `folder`."""
    file = folder / "ClientRequest.json"
    try:
        return Methods(len(Schema(file).methods()), hashlib.sha256(file.read_bytes()).hexdigest())
    except (OSError, ValueError, LookupError, TypeError):
        return None


class _Comparison:
    """The points of one comparison, as they are found."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Dicts for their order, and because one change shows in many places.
        self.refused: dict[str, None] = {}
        self.degraded: dict[str, None] = {}

    def compare(self) -> None:
        self._calls()
        self._answers()
        self._events()
        self._questions()

    def _file(self, name: str) -> Schema:
        return Schema(self._folder / f"{name}.json")

    def _note(self, *points: str, refuse: bool) -> None:
        (self.refused if refuse else self.degraded).update(dict.fromkeys(points))

    # What we say

    def _calls(self) -> None:
        schema = self._file("ClientRequest")
        known = schema.methods()
        for group in (samples.CORE, samples.ACTS, samples.LOOKS):
            for verb in group:
                if verb.method not in known:
                    self._note(f"no {verb.method}", refuse=group is samples.CORE)
                    continue
                for complaint in schema.complaints(_message(verb), known[verb.method]):
                    point = f"{verb.method}: {complaint.message.replace('.params.', '')}"
                    harmless = group is samples.LOOKS or (
                        group is samples.ACTS and complaint.is_ignored
                    )
                    self._note(point, refuse=not harmless)
        if verbs.INITIALIZED not in self._file("ClientNotification").methods():
            self._note(f"no {verbs.INITIALIZED}", refuse=True)

    # What we read

    def _answers(self) -> None:
        core = {verb.method for verb in samples.CORE}
        for reading in samples.READINGS:
            missing: list[set[str]] = []
            for method, name in reading.files.items():
                if not (self._folder / f"{name}.json").exists():
                    continue  # The method is not there, and was noted.
                schema = self._file(name)
                asked: set[str] = set()
                for sample in schema.samples(schema.root):
                    if not _reads(reading, sample):
                        self._note(f"{method}: its answer changed", refuse=method in core)
                    asked |= sample.inventions()
                missing.append(asked)
            self._not_told(set.intersection(*missing) if missing else ())

    def _events(self) -> None:
        schema = self._file("ServerNotification")
        known = schema.methods()
        items: set[str] = set()
        statuses: set[str] = set()
        for method in events.EVENT_READERS:
            is_core = method in samples.CORE_EVENTS
            if method not in known:
                self._note(f"no notification {method}", refuse=is_core)
                continue
            for sample in schema.samples(schema.params_of(method)):
                match events.read_event(method, sample):
                    case events.UnknownNotification():
                        self._note(f"notification {method} changed", refuse=is_core)
                    case events.ItemCompleted(item=things.OtherItem(kind=kind)):
                        if kind in things.ITEM_KINDS:
                            self._note(f"item {kind} changed", refuse=kind in samples.CORE_ITEMS)
                    case events.TurnCompleted(turn=turn):
                        statuses.add(turn.status)
                    case _:
                        pass
                if method == "item/completed":
                    items.add(str(sample["item"]["type"]))
                self._not_told(sample.inventions())
        for kind in things.ITEM_KINDS - items:
            self._note(f"no item {kind}", refuse=kind in samples.CORE_ITEMS)
        for status in samples.TURN_STATUSES:
            if status not in statuses:
                self._note(f"a turn is never {status}", refuse=True)

    def _not_told(self, fields: Iterable[str]) -> None:
        for field in sorted(fields):
            self._note(f"{field} is not told", refuse=field in samples.CORE_FIELDS)

    # What we are asked

    def _questions(self) -> None:
        schema = self._file("ServerRequest")
        known = schema.methods()
        for method, name in samples.ANSWER_FILES.items():
            is_legacy = method in samples.LEGACY_QUESTIONS
            if method not in known:
                if not is_legacy:
                    self._note(f"no {method}", refuse=True)
                continue
            accepts = self._file(name)
            for sample in schema.samples(schema.params_of(method)):
                for point in _misunderstandings(method, sample, accepts):
                    self._note(f"{method}: {point}", refuse=not is_legacy)
                missing = sample.inventions()
                self._not_told(missing & samples.SPARE_FIELDS)
                for field in sorted(missing - samples.SPARE_FIELDS):
                    self._note(f"{method}: no {field}", refuse=not is_legacy)
        ours = {*samples.ANSWER_FILES, *questions.REFUSED_METHODS}
        for method in sorted(set(known) - ours):
            self._note(f"{method} is new, and is refused when Codex asks it", refuse=False)


def _message(verb: verbs.Verb) -> dict[str, object]:
    params = verb.to_wire()
    return {"id": 1, "method": verb.method, **({} if params is None else {"params": params})}


def _reads(reading: samples.Reading, sample: Spy) -> bool:
    try:
        answer = reading.read(sample)
    except (Odd, LookupError):
        return False
    # A page leaves out what it cannot read.
    return not isinstance(answer, things.Page) or bool(answer.data) or not sample.get("data")


def _misunderstandings(method: str, sample: Spy, accepts: Schema) -> list[str]:
    request = questions.read_server_request(7, method, sample)
    if isinstance(request, questions.NotOurs):
        return ["the question changed"]
    try:
        given = samples.every_answer(request)
    except (NotOnOffer, LookupError):
        return ["what it offers changed"]
    return [
        f"does not take our answer ({complaint.message})"
        for answer in given
        for complaint in accepts.complaints(answer)
    ]
