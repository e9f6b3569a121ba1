"""The product, broken on purpose in one way after another: each time the sweep must notice.

A mutant runs in a process of its own, where an import hook changes the text of a module as it is
loaded. Text that is not found exactly once is an error: a stale mutant proves nothing.

Belt and braces have no mutant each: where several guards hold one promise (generation and sequence
in the pen's fence and the journal's key; a look-up and a unique index), only losing all of them
breaks it, and all are cut.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

#: A mutant that runs in circles without any time passing is caught by this.
PATIENCE_SECONDS = 600
#: The broken program did not get as far as a breach: it went round in circles.
NEVER_ENDS = "never ends"
_PACKAGE = "codex_control_plane_mcp."


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the source."""

    module: str
    snippet: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    #: What is broken, in plain words.
    broken: str
    #: The promise that it breaks.
    breaks: str
    #: The cases that catch it: those whose names begin so.
    cases: str
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant."""

    mutant: str
    #: The promise whose breach was noticed; empty when nobody noticed anything.
    caught_by: str
    case: str
    what: str
    histories: int

    @property
    def is_caught(self) -> bool:
        return bool(self.caught_by)


class Stale(Exception):
    """The text that a mutant changes is not there, or is there twice."""


def _one(module: str, snippet: str, replacement: str) -> tuple[Edit, ...]:
    return (Edit(module, snippet, replacement),)


def _without_index(name: str) -> Edit:
    return Edit(
        "store.editions",
        'read_text(encoding="utf-8"))\n',
        f'read_text(encoding="utf-8").replace("UNIQUE INDEX {name}", "INDEX {name}"))\n',
    )


MUTANTS = (
    Mutant(
        "no-fence",
        "a worker that was replaced may still write",
        "I5",
        "plan: stopped after a commit (point 5",
        (
            Edit(
                "store.operations",
                '_ROWS.generation == bindparam("seen_generation"),\n',
                '(_ROWS.generation == bindparam("seen_generation"))'
                ' | (_ROWS.id == bindparam("seen_id")),\n',
            ),
            Edit(
                "store.operations",
                '_ROWS.last_seq == bindparam("seen_last_seq"),\n',
                '(_ROWS.last_seq == bindparam("seen_last_seq"))'
                ' | (_ROWS.id == bindparam("seen_id")),\n',
            ),
            Edit(
                "store.operations",
                "_INSERT_ENTRY = insert(journal)\n",
                '_INSERT_ENTRY = insert(journal).prefix_with("OR REPLACE")\n',
            ),
        ),
    ),
    Mutant(
        "adopt-without-generation",
        "who takes over does not put its generation on record",
        "I5",
        "plan: killed after turn/start",
        _one(
            "store.operations",
            "record(writing, operation_of(row), Adopted(generation))",
            "operation_of(row)",
        ),
    ),
    Mutant(
        "adopt-forgets",
        "who takes over overlooks those that were starting a turn",
        "I5",
        "plan: killed after turn/start",
        _one(
            "store.operations",
            "Adopted(generation)) for row in rows.all()]",
            'Adopted(generation)) for row in rows.all() if row.status != "starting_turn"]',
        ),
    ),
    Mutant(
        "numbers-skipped",
        "the journal leaves out a number",
        "I8",
        "plan: undisturbed",
        _one(
            "store.operations",
            "last_seq=operation.last_seq + len(lines),",
            "last_seq=operation.last_seq + len(lines) + bool(entries),",
        ),
    ),
    Mutant(
        "wish-after-effect",
        "the wish for a turn is not on record before Codex is asked",
        "I1",
        "plan: killed after turn/start",
        _one(
            "work.driver",
            "_policy(opened)),\n            TurnIntended(last_turn_id),\n        )\n",
            "_policy(opened)),\n        )\n"
            "        from codex_control_plane_mcp.model.operation import apply\n"
            "        self._case.operation = apply(\n"
            "            self._operation, TurnIntended(last_turn_id), self._operation.updated_at\n"
            "        )\n",
        ),
    ),
    Mutant(
        "resend-without-evidence",
        "in doubt a turn is asked for again",
        "I1",
        "plan: killed after turn/start",
        _one("work.driver", "if intent is None\n", "if intent is not None\n"),
    ),
    Mutant(
        "look-once",
        "a turn that does not show at once is held for never accepted",
        "I1",
        "plan: turns show as not listed",
        _one(
            "work.evidence",
            "if found is None or not found.turn.items:",
            "if found is not None and not found.turn.items:",
        ),
    ),
    Mutant(
        "resume-once",
        "a thread that does not show at once is held for lost",
        "I1",
        "plan: turns show as no rollout",
        _one("work.driver", "            if self._owner_died:\n", "            if True:\n"),
    ),
    Mutant(
        "lost-at-once",
        "a running turn that does not show at once is given up",
        "I7",
        "talk: turns show as no rollout",
        _one(
            "work.follower",
            'if turn is None or (turn.status == "interrupted" and not self._is_whole(turn)):',
            'if turn is not None and turn.status == "interrupted" and not self._is_whole(turn):',
        ),
    ),
    Mutant(
        "believe-a-stranger",
        "a second app-server is believed about another's turn",
        "I7",
        "plan: another Codex answers, killed after turn/start",
        _one("work.driver", "if not self._tools.is_gone(known):", "if known == present.id:"),
    ),
    Mutant(
        "interrupted-is-asked-again",
        "a turn that was interrupted is held for none",
        "I1",
        "plan: die after at turn/start",
        _one(
            "work.evidence",
            "        if turn.id == intent.last_turn_id:\n            break\n",
            "        if turn.id == intent.last_turn_id:\n            break\n"
            '        if turn.status == "interrupted":\n            continue\n',
        ),
    ),
    Mutant(
        "impatient",
        "a turn is asked for again while the first request may yet be granted",
        "I1",
        "plan: take its time at turn/start",
        _one(
            "work.driver",
            "self._owes_answer = session if isinstance(error, CallTimedOut) else None",
            "self._owes_answer = None",
        ),
    ),
    Mutant(
        "impatient-steering",
        "a turn is steered again while the first request may yet be granted",
        "I1",
        "plan: take its time at turn/steer",
        _one(
            "work.driver",
            "self._owes_answer = session\n            raise",
            "pass\n            raise",
        ),
    ),
    Mutant(
        "silence-is-no",
        "an answer that does not come is taken for a refusal",
        "I7",
        "plan: lose answer at turn/start",
        _one(
            "work.driver",
            "except Refused as error:\n            await self._case.end(Failed",
            "except (Refused, CallTimedOut) as error:\n            await self._case.end(Failed",
        ),
    ),
    Mutant(
        "answered-before-sent",
        "an answer counts before it is sent",
        "I5",
        "plan: killed before an answer",
        _one(
            "work.questions",
            "        if payload is None:\n            await self._session.refuse(",
            "        await self._close(one.interaction.id, wish)\n"
            "        if payload is None:\n            await self._session.refuse(",
        ),
    ),
    Mutant(
        "sent-without-a-note",
        "an answer is sent without a note that it is on its way",
        "I4",
        "plan: killed after an answer",
        _one(
            "work.questions",
            "also=lambda writing: wishes.about_to_send(writing, wish)",
            "also=None",
        ),
    ),
    Mutant(
        "withdrawn-after-crash",
        "after a crash an answer that was sent is called withdrawn",
        "I4",
        "plan: killed after an answer",
        _one(
            "work.questions",
            "sent.get(interaction.id) if same_process else None",
            "None if same_process else sent.get(interaction.id)",
        ),
    ),
    Mutant(
        "answer-to-the-dead",
        "an answer to an app-server that died counts",
        "I4",
        "plan: killed with Codex after a commit",
        _one(
            "work.case",
            "return same_process and isinstance(fact, Completed | Failed)",
            "return True",
        ),
    ),
    Mutant(
        "answer-forgotten-at-the-end",
        "an answer that ended a turn unheard is called withdrawn",
        "I4",
        "talk: killed after an answer",
        _one(
            "work.case",
            "return same_process and isinstance(fact, Completed | Failed)",
            "return False",
        ),
    ),
    Mutant(
        "questions-by-number",
        "questions are told apart by their number alone",
        "I5",
        "talk: killed with Codex",
        _one(
            "store.interactions",
            "    _OF_OPERATION,\n"
            '    interactions.c.app_server_id == bindparam("app_server"),\n'
            '    interactions.c.request_id == bindparam("request"),\n',
            '    interactions.c.request_id == bindparam("request"),\n',
        ),
    ),
    Mutant(
        "two-answers",
        "a second answer to a question is taken, too",
        "I4",
        "talk: undisturbed",
        (
            Edit("desk.interactions", "if outcome in (None, Outcome.DONE):", "if not by:"),
            Edit(
                "desk.interactions",
                "    if interaction.status is not InteractionStatus.PENDING:\n"
                "        raise _closed(interaction)\n",
                "",
            ),
            Edit(
                "desk.interactions",
                "case InteractionStatus.ANSWERED:\n            raise _closed(interaction)\n",
                "case InteractionStatus.ANSWERED:\n            return True\n",
            ),
            _without_index("wishes_one_answer"),
        ),
    ),
    Mutant(
        "an-end-is-rewritten",
        "an end may be written over an end",
        "I3",
        "plan: everything is said twice",
        (
            Edit(
                "model.operation",
                "Completed: (WITH_TURN, Status.COMPLETED)",
                "Completed: (WITH_TURN | FINAL, Status.COMPLETED)",
            ),
            Edit(
                "work.follower",
                "            if self._case.operation.is_final:\n                return\n",
                "",
            ),
        ),
    ),
    Mutant(
        "cancel-ignored",
        "nobody looks at the wish to end a turn",
        "I5",
        "stop: undisturbed",
        _one(
            "work.questions",
            "                    await self._interrupt(now)\n",
            "                    pass\n",
        ),
    ),
    Mutant(
        "wishes-stay-open",
        "what was wished of an operation stays open behind its end",
        "I5",
        "stop: undisturbed",
        _one(
            "work.case",
            "            wishes.fulfil(writing, wish, Outcome.DONE if granted else Outcome.MOOT)\n",
            "            del granted\n",
        ),
    ),
    Mutant(
        "key-not-looked-up",
        "a client that says its task again gets a second operation",
        "I2",
        "plan: killed after a commit",
        (
            Edit("desk.submit", "if wanted.client_request_id is not None:", "if False:"),
            Edit("desk.submit", "    if same is not None:\n", "    if False:\n"),
            _without_index("operations_by_client_request"),
            Edit(
                "model.request",
                "def prompt_key(",
                "def prompt_key(_: object) -> None:\n    return None\n\n\ndef _prompt_key(",
            ),
        ),
    ),
    Mutant(
        "any-task-for-a-key",
        "a key is answered with the operation of another task",
        "I2",
        "talk: undisturbed",
        _one("desk.submit", "if hashed == payload_hash(wanted):", "if hashed:"),
    ),
    Mutant(
        "steer-again",
        "in doubt a turn is steered again",
        "I1",
        "plan: killed after turn/steer",
        _one(
            "work.steering",
            "elif await _settled(case, request, session, owes_answer=owes_answer):",
            "elif not request:",
        ),
    ),
    Mutant(
        "first-words",
        "the report is the first thing that was said, not the last",
        "I6",
        "talk: killed after an answer",
        _one("codex.words.things", "return candidates[-1] if", "return candidates[0] if"),
    ),
    Mutant(
        "written-twice",
        "who takes over writes down again what the journal holds",
        "I6",
        "plan: killed after a commit",
        _one("work.scribe", "dict(inherited or {})", "{}"),
    ),
    Mutant(
        "nothing-caught-up",
        "who takes over hears only what comes from now on",
        "I5",
        "plan: killed after a commit",
        _one("work.follower", "            if subscribed:\n", "            if True:\n"),
    ),
    Mutant(
        "caught-up-once",
        "a turn counts as heard from its beginning though Codex refused to be subscribed to",
        "I5",
        "plan: hang up after at turn/start #2, call",
        _one(
            "work.driver",
            "        self._bound_to = None\n        with _span_of_turn",
            "        self._bound_to = session\n        with _span_of_turn",
        ),
    ),
    Mutant(
        "no-bell",
        "nobody is told that the book has changed",
        "I5",
        "plan: undisturbed",
        _one("store.book", "            self.bell.ring(news)\n", "            pass\n"),
    ),
    Mutant(
        "claim-unheard",
        "a claim is forgotten where the line to the database broke before its answer",
        "I5",
        "plan: line cut after a commit",
        _one("work.workshop", "            self._in_doubt = True\n", "            pass\n"),
    ),
    Mutant(
        "kept-twice",
        "what a commit whose answer was lost had written is written again",
        "I6",
        "plan: line cut after a commit",
        _one("work.spool", "if operation.last_seq == kept.after_seq:", "if True:"),
    ),
)


# --- Running them --------------------------------------------------------------------------------


def run(mutants: Sequence[Mutant] = MUTANTS) -> Iterator[Verdict]:
    """Each in a process of its own, as many at a time as there are cores; in order."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        yield from threads.map(run_one, mutants)


def run_one(mutant: Mutant) -> Verdict:
    """Raises Stale when the source has changed under the mutant."""
    command = [sys.executable, "-m", f"{_PACKAGE}selftest.mutants", mutant.name]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        what = f"it still ran after {PATIENCE_SECONDS} s"
        return Verdict(mutant.name, NEVER_ENDS, mutant.cases, what, 0)
    if done.returncode != 0:
        raise Stale(f"{mutant.name}: {done.stderr.strip() or 'it ended without a word'}")
    return Verdict(**json.loads(done.stdout.splitlines()[-1]))


def main(name: str) -> None:
    """Become the mutant, tell cases until one breaks, and print the verdict."""
    mutant = next(one for one in MUTANTS if one.name == name)
    surgeon = Surgeon(mutant.edits)
    sys.meta_path.insert(0, surgeon)
    # Not before: whatever is imported already would stay as it is.
    from codex_control_plane_mcp.selftest.run import silence

    with silence():
        verdict = hunt(mutant)
    surgeon.must_have_cut()
    sys.stdout.write(json.dumps(asdict(verdict)) + "\n")


def hunt(mutant: Mutant) -> Verdict:
    from codex_control_plane_mcp.selftest.sweep import every_cut, every_fault, every_point, tell

    scenario = mutant.cases.partition(":")[0]
    told = None
    number = 0
    for sweep in (every_point, every_fault, every_cut):
        for case in sweep(scenario):
            if case.name.startswith(mutant.cases):
                number += 1
                told = tell(case)
                if told.breaches:
                    first = told.breaches[0]
                    return Verdict(mutant.name, first.promise, case.name, first.what, number)
    if told is None:
        raise Stale(f"no case is called {mutant.cases!r}")
    return Verdict(mutant.name, "", mutant.cases, "nobody noticed anything", number)


class Surgeon(importlib.abc.MetaPathFinder):
    """Changes modules as they are loaded."""

    def __init__(self, edits: Sequence[Edit]) -> None:
        self._edits: dict[str, list[Edit]] = {}
        for edit in edits:
            self._edits.setdefault(_PACKAGE + edit.module, []).append(edit)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        edits = self._edits.pop(fullname, None)
        if edits is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            raise Stale(f"there is no source of {fullname}")
        spec.loader = _Cut(fullname, spec.loader.path, edits)
        return spec

    def must_have_cut(self) -> None:
        if self._edits:
            raise Stale(f"never loaded: {', '.join(self._edits)}")


class _Cut(importlib.machinery.SourceFileLoader):
    """Loads a module with its text changed; what was compiled before is not looked at."""

    def __init__(self, fullname: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(fullname, path)
        self._edits = edits

    def get_code(self, fullname: str) -> types.CodeType:
        text = self.get_data(self.path).decode()
        for edit in self._edits:
            found = text.count(edit.snippet)
            if found != 1:
                raise Stale(f"{edit.module} holds {found} times: {edit.snippet.strip()!r}")
            text = text.replace(edit.snippet, edit.replacement)
        return self.source_to_code(text.encode(), self.path)


if __name__ == "__main__":
    main(sys.argv[1])
