"""The script: what the scripted model will do, one readable step on each line.

A script travels in two ways. Inside a prompt, every line that starts with one of the verbs is a
step and every other line is prose, so a test says in one place what it asks and what it gets:

    Please greet me.
    say Hello there

In a playbook file each line must be a step, a comment (`#`), blank, or `when REGEX`: the steps
below a `when` are played for prompts that match it and hold no step themselves.

This module is pure. It knows neither HTTP nor Codex's wire format; `wire` does.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

DEFAULT_REASON = "The next step needs to leave the sandbox."
DEFAULT_ANSWER = "I am the scripted model: your message held no script line, so this is all I say."


class ScriptError(ValueError):
    """A line that starts like a step and cannot be one; the message says how to write it."""


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Stream:
    words: int
    every_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Think:
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    markdown: str


@dataclass(frozen=True, slots=True)
class Run:
    command: str
    #: Set: the command asks to leave the sandbox, and this is what the approver reads.
    because: str | None = None


@dataclass(frozen=True, slots=True)
class PatchAdd:
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class PatchUpdate:
    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class PatchDelete:
    path: str


@dataclass(frozen=True, slots=True)
class Option:
    label: str
    description: str


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Call:
    tool: str
    #: A JSON object, kept as the author wrote it.
    arguments: str


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class Hold:
    name: str


@dataclass(frozen=True, slots=True)
class Hang:
    pass


@dataclass(frozen=True, slots=True)
class FailStatus:
    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class FailResponse:
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class FailStream:
    pass


Patch = PatchAdd | PatchUpdate | PatchDelete
#: Steps whose result comes back in the next request: each one ends its response.
RoundTrip = Run | Patch | Ask | Call
#: Steps after which the response cannot go on.
Ending = Hang | FailStatus | FailResponse | FailStream
Step = Say | Stream | Think | Plan | Wait | Hold | RoundTrip | Ending


@dataclass(frozen=True, slots=True)
class Script:
    """Steps in order; `acts` are the same steps, cut where a response of the model ends."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        _refuse_what_cannot_be_played(self.acts)

    @property
    def acts(self) -> tuple[tuple[Step, ...], ...]:
        acts: list[list[Step]] = [[]]
        for step in self.steps:
            acts[-1].append(step)
            if isinstance(step, RoundTrip):
                acts.append([])
        return tuple(tuple(act) for act in acts)

    def act(self, position: int) -> tuple[Step, ...]:
        """The steps to play when `position` results have come back since the prompt."""
        return self.acts[position] if position < len(self.acts) else ()


@dataclass(frozen=True, slots=True)
class Rule:
    pattern: re.Pattern[str]
    script: Script


def default_script() -> Script:
    return Script((Say(DEFAULT_ANSWER),))


@dataclass(frozen=True, slots=True)
class Playbook:
    """What to play for a prompt that holds no step: the first rule that matches, or `otherwise`."""

    rules: tuple[Rule, ...] = ()
    otherwise: Script = field(default_factory=default_script)

    def script_for(self, message: str) -> Script:
        found = find(message)
        if found is not None:
            return found
        matching = (rule.script for rule in self.rules if rule.pattern.search(message))
        return next(matching, self.otherwise)


def find(message: str) -> Script | None:
    """The script that a prompt holds between its prose, or None when it holds no step."""
    numbered = enumerate(message.split("\n"), start=1)
    steps = tuple(_step(number, line) for number, line in numbered if _verb(line) is not None)
    return Script(steps) if steps else None


def parse(text: str) -> Script:
    """A script on its own: every line is a step, a comment, or blank."""
    return Script(tuple(_step(number, line) for number, line in _written_lines(text)))


def playbook(text: str) -> Playbook:
    """A playbook file: steps under `when REGEX` lines, and above them the steps for the rest."""
    sections: list[tuple[re.Pattern[str] | None, list[Step]]] = [(None, [])]
    for number, line in _written_lines(text):
        if line.split(maxsplit=1)[0] == "when":
            sections.append((_pattern(number, line), []))
        else:
            sections[-1][1].append(_step(number, line))
    otherwise, *rules = sections
    return Playbook(
        tuple(Rule(pattern, Script(tuple(steps))) for pattern, steps in rules if pattern),
        Script(tuple(otherwise[1])) if otherwise[1] else default_script(),
    )


def write(script: Script | Iterable[Step]) -> str:
    """The script as text that `parse` and `find` read back as the same steps."""
    steps = script.steps if isinstance(script, Script) else script
    return "\n".join(line(step) for step in steps)


def line(step: Step) -> str:
    match step:
        case Say(text):
            return f"say {_escape(text)}"
        case Stream(words, every_seconds):
            return f"stream {words} words every {_length(every_seconds)}"
        case Think(text):
            return f"think {_escape(text)}"
        case Plan(markdown):
            return f"plan {_escape(markdown)}"
        case Run(command, None):
            return f"run {command}"
        case Run(command, because):
            return f"run! {command} # because {because}"
        case PatchAdd(path, text):
            return f"patch add {path}: {_escape(text)}"
        case PatchUpdate(path, old, new):
            return f"patch update {path}: {_escape(old)} => {_escape(new)}"
        case PatchDelete(path):
            return f"patch delete {path}"
        case Ask(questions):
            return "ask " + " || ".join(_question_line(question) for question in questions)
        case Call(tool, arguments):
            return f"call {tool} {arguments}"
        case Wait(seconds):
            return f"wait {_length(seconds)}"
        case Hold(name):
            return f"hold {name}"
        case Hang():
            return "hang"
        case FailStatus(status, code, message):
            return f"fail {status} {code} {message}"
        case FailResponse(code, message):
            return f"fail response {code} {message}"
        case FailStream():
            return "fail stream"


# Reading a line.


def _written_lines(text: str) -> Iterable[tuple[int, str]]:
    for number, written in enumerate(text.split("\n"), start=1):
        stripped = written.strip()
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def _verb(written: str) -> str | None:
    first = written.split(maxsplit=1)[:1]
    return first[0] if first and first[0] in _READERS else None


def _step(number: int, written: str) -> Step:
    verb, rest = (*written.split(maxsplit=1), "")[:2]
    reader = _READERS.get(verb)
    if reader is None:
        raise ScriptError(
            f"script line {number}: {verb!r} is not a step; the steps are {', '.join(_READERS)}"
        )
    try:
        return reader(rest.strip())
    except ScriptError as error:
        raise ScriptError(f"script line {number}: {error}") from None


def _pattern(number: int, written: str) -> re.Pattern[str]:
    _, _, regex = written.partition(" ")
    if not regex.strip():
        raise ScriptError(f"script line {number}: write `when REGEX`")
    try:
        return re.compile(regex.strip())
    except re.error as error:
        raise ScriptError(f"script line {number}: {regex!r} is no regex: {error}") from None


def _say(rest: str) -> Step:
    return Say(_unescape(_needed(rest, "say TEXT")))


def _stream(rest: str) -> Step:
    found = re.fullmatch(r"(\d{1,6}) words?(?: every (\S+))?", rest)
    if found is None:
        raise ScriptError("write `stream COUNT words` or `stream COUNT words every 10ms`")
    every = found[2]
    return Stream(int(found[1]), _seconds(every) if every else 0.0)


def _think(rest: str) -> Step:
    return Think(_unescape(_needed(rest, "think TEXT")))


def _plan(rest: str) -> Step:
    return Plan(_unescape(_needed(rest, r"plan MARKDOWN, with \n between its lines")))


def _run(rest: str) -> Step:
    return Run(_needed(rest, "run COMMAND"))


def _run_escalated(rest: str) -> Step:
    command, marker, reason = rest.rpartition("# because ")
    if not marker:
        command, reason = rest, DEFAULT_REASON
    return Run(_needed(command, "run! COMMAND # because REASON"), _needed(reason, "a reason"))


def _patch(rest: str) -> Step:
    kind, _, change = rest.partition(" ")
    path, _, text = change.partition(": ")
    if kind == "delete" and change.strip():
        return PatchDelete(change.strip())
    if kind == "add" and path.strip() and text.strip():
        return PatchAdd(path.strip(), _unescape(text.strip()))
    old, arrow, new = text.partition("=>")
    if kind == "update" and path.strip() and old.strip() and arrow:
        return PatchUpdate(path.strip(), _unescape(old.strip()), _unescape(new.strip()))
    raise ScriptError(
        "write `patch add PATH: TEXT`, `patch update PATH: OLD => NEW` or `patch delete PATH`"
    )


def _ask(rest: str) -> Step:
    return Ask(tuple(_question(part) for part in rest.split("||")))


def _question(written: str) -> Question:
    text, *options = (part.strip() for part in written.split("|"))
    if not text or not options or not all(options):
        raise ScriptError("write `ask QUESTION? | LABEL: DESCRIPTION | LABEL: DESCRIPTION`")
    return Question(text, tuple(_option(option) for option in options))


def _option(written: str) -> Option:
    label, _, description = written.partition(":")
    return Option(label.strip(), description.strip() or label.strip())


def _call(rest: str) -> Step:
    tool, _, arguments = _needed(rest, 'call TOOL {"argument": ...}').partition(" ")
    arguments = arguments.strip() or "{}"
    try:
        decoded = json.loads(arguments)
    except ValueError as error:
        raise ScriptError(f"the arguments of {tool} are no JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise ScriptError(f"the arguments of {tool} must be a JSON object")
    return Call(tool, arguments)


def _wait(rest: str) -> Step:
    return Wait(_seconds(rest))


def _hold(rest: str) -> Step:
    # A name is a part of a URL when another process releases it.
    if not re.fullmatch(r"[\w.-]+", rest):
        raise ScriptError("write `hold NAME`, the name one word of letters, digits, `.`, `_`, `-`")
    return Hold(rest)


def _hang(rest: str) -> Step:
    if rest:
        raise ScriptError("write `hang` alone")
    return Hang()


def _fail(rest: str) -> Step:
    kind, code, message = (*rest.split(maxsplit=2), "", "", "")[:3]
    if rest == "stream":
        return FailStream()
    if kind == "response" and code:
        return FailResponse(code, message or _failure_message(code))
    if re.fullmatch(r"[45]\d\d", kind):
        code = code or f"http_{kind}"
        return FailStatus(int(kind), code, message or _failure_message(code))
    raise ScriptError(
        "write `fail STATUS CODE MESSAGE`, `fail response CODE MESSAGE` or `fail stream`"
    )


_READERS: Mapping[str, Callable[[str], Step]] = {
    "say": _say,
    "stream": _stream,
    "think": _think,
    "plan": _plan,
    "run": _run,
    "run!": _run_escalated,
    "patch": _patch,
    "ask": _ask,
    "call": _call,
    "wait": _wait,
    "hold": _hold,
    "hang": _hang,
    "fail": _fail,
}
VERBS = tuple(_READERS)


def _refuse_what_cannot_be_played(acts: tuple[tuple[Step, ...], ...]) -> None:
    for number, act in enumerate(acts):
        *before, last = act or (None,)
        for step in before:
            if isinstance(step, Ending):
                raise ScriptError(f"nothing can follow `{line(step)}`: it ends the response")
        if isinstance(last, Ending) and number + 1 < len(acts):
            raise ScriptError(f"nothing can follow `{line(last)}`: it ends the response")
        if isinstance(last, FailStatus) and not all(isinstance(s, Wait | Hold) for s in before):
            raise ScriptError(
                f"`{line(last)}` must come first in its response, as an HTTP status does; "
                "use `fail response` or `fail stream` after text"
            )


# Small words.


def _needed(text: str, how: str) -> str:
    if not text.strip():
        raise ScriptError(f"write `{how}`")
    return text.strip()


def _seconds(written: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", written)
    if found is None:
        raise ScriptError(f"{written!r} is no length of time; write 500ms or 2s")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def _length(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _failure_message(code: str) -> str:
    return f"The script says: {code}."


def _question_line(question: Question) -> str:
    options = (f"{option.label}: {option.description}" for option in question.options)
    return " | ".join((question.text, *options))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _unescape(text: str) -> str:
    return re.sub(r"\\([\\n])", lambda found: "\n" if found[1] == "n" else "\\", text)
