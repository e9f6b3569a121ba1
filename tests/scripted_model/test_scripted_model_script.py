"""The script's format: what each line means, and what a mistaken line is told."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.scripted_model.script import (
    DEFAULT_ANSWER,
    VERBS,
    Ask,
    Call,
    FailResponse,
    FailStatus,
    FailStream,
    Hang,
    Hold,
    Option,
    PatchAdd,
    PatchDelete,
    PatchUpdate,
    Plan,
    Playbook,
    Question,
    RoundTrip,
    Run,
    Say,
    Script,
    ScriptError,
    Step,
    Stream,
    Think,
    Wait,
    find,
    parse,
    playbook,
    write,
)


@pytest.mark.parametrize(
    ("written", "step"),
    [
        ("say Hello there", Say("Hello there")),
        (r"say one\ntwo \\n", Say("one\ntwo \\n")),
        ("stream 200 words every 10ms", Stream(200, 0.01)),
        ("stream 1 word", Stream(1)),
        ("think Let me see", Think("Let me see")),
        (r"plan # Title\n\n- a step", Plan("# Title\n\n- a step")),
        (r"run printf 'a\n' # kept", Run(r"printf 'a\n' # kept")),
        ("run! rm x # because it is old", Run("rm x", "it is old")),
        ("run! rm x", Run("rm x", "The next step needs to leave the sandbox.")),
        (r"patch add a/b.txt: one\ntwo", PatchAdd("a/b.txt", "one\ntwo")),
        ("patch update b.txt: old => new", PatchUpdate("b.txt", "old", "new")),
        ("patch delete b.txt", PatchDelete("b.txt")),
        ("ask Why? | Fun", Ask((Question("Why?", (Option("Fun", "Fun"),)),))),
        ('call update_goal {"status": "complete"}', Call("update_goal", '{"status": "complete"}')),
        ("call get_goal", Call("get_goal", "{}")),
        ("wait 500ms", Wait(0.5)),
        ("wait 1.5s", Wait(1.5)),
        ("hold the-gate", Hold("the-gate")),
        ("hang", Hang()),
        ("fail 429 usage_limit_reached", FailStatus(429, "usage_limit_reached", "The script "
         "says: usage_limit_reached.")),
        ("fail 500", FailStatus(500, "http_500", "The script says: http_500.")),
        ("fail 500 broken It fell", FailStatus(500, "broken", "It fell")),
        ("fail response slow_down Later", FailResponse("slow_down", "Later")),
        ("fail stream", FailStream()),
    ],
)  # fmt: skip
def test_a_line_is_a_step(written: str, step: Step) -> None:
    assert parse(written).steps == (step,)


def test_questions_stand_side_by_side_with_their_options() -> None:
    (ask,) = parse("ask Which? | Red: warm: very | Blue: cold || How big? | Small | Large").steps

    assert ask == Ask(
        (
            Question("Which?", (Option("Red", "warm: very"), Option("Blue", "cold"))),
            Question("How big?", (Option("Small", "Small"), Option("Large", "Large"))),
        )
    )


def test_a_prompt_is_prose_with_steps_between() -> None:
    script = find("Please say hello.\n\n  say Hello\r\nThanks.\n\trun\tls\n")

    assert script == Script((Say("Hello"), Run("ls")))


def test_a_prompt_may_hold_no_step() -> None:
    assert find("Say hello to Bob, run the tests, and hang on.") is None


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("sya Hello", "'sya' is not a step; the steps are say, stream"),
        ("say", "write `say TEXT`"),
        ("stream many words", "stream COUNT words"),
        ("stream 3 words every day", "'day' is no length of time"),
        ("wait a moment", "write 500ms or 2s"),
        ("run", "write `run COMMAND`"),
        ("run! # because I can", "run! COMMAND # because REASON"),
        ("patch move a", "patch add PATH: TEXT"),
        ("ask Which colour?", "ask QUESTION? | LABEL: DESCRIPTION"),
        ("ask Which? | Red || ", "ask QUESTION? | LABEL: DESCRIPTION"),
        ("call tool {", "the arguments of tool are no JSON"),
        ("call tool []", "must be a JSON object"),
        ("hold two words", "write `hold NAME`"),
        ("hang on", "write `hang` alone"),
        ("fail 200 fine", "fail STATUS CODE MESSAGE"),
        ("fail response", "fail response CODE MESSAGE"),
    ],
)
def test_a_mistaken_line_is_told_where_and_how(written: str, told: str) -> None:
    with pytest.raises(ScriptError, match="script line 2") as raised:
        parse(f"# a comment\n{written}")

    assert told in str(raised.value)


@pytest.mark.parametrize("ending", ["hang", "fail stream", "fail response code", "fail 500"])
def test_nothing_can_follow_an_ending(ending: str) -> None:
    with pytest.raises(ScriptError, match="nothing can follow"):
        parse(f"{ending}\nsay More")


def test_a_failing_status_comes_before_any_text_of_its_response() -> None:
    assert len(parse("say First\nrun true\nwait 1s\nhold gate\nfail 500").acts) == 2
    with pytest.raises(ScriptError, match="must come first in its response"):
        parse("run true\nsay First\nfail 500")


def test_an_act_ends_with_each_round_trip() -> None:
    script = parse("say a\nrun b\nthink c\nask d? | e\nsay f")

    assert [len(act) for act in script.acts] == [2, 2, 1]
    assert script.act(1) == (Think("c"), Ask((Question("d?", (Option("e", "e"),)),)))
    assert script.act(3) == ()


def test_a_playbook_answers_prompts_that_hold_no_step() -> None:
    book = playbook("say Otherwise\n# reviews\nwhen (?i)review\n  say Fine\nwhen plan\n  hang\n")

    assert book.script_for("Please REVIEW this plan").steps == (Say("Fine"),)
    assert book.script_for("Make a plan").steps == (Hang(),)
    assert book.script_for("Something else").steps == (Say("Otherwise"),)
    assert book.script_for("Please review\nsay My own").steps == (Say("My own"),)


def test_an_empty_playbook_says_politely_what_it_is() -> None:
    assert playbook("") == Playbook()
    assert Playbook().script_for("Hi").steps == (Say(DEFAULT_ANSWER),)


@pytest.mark.parametrize(("written", "told"), [("when", "when REGEX"), ("when (", "is no regex")])
def test_a_mistaken_rule_is_told_where_and_how(written: str, told: str) -> None:
    with pytest.raises(ScriptError, match="script line 1") as raised:
        playbook(written)

    assert told in str(raised.value)


# Whatever can be written down is read back as it was meant.

printable = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
texts = st.text(printable | st.just("\n"), min_size=1).map(str.strip).filter(bool)
single_lines = st.text(printable, min_size=1).map(str.strip).filter(bool)
words = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)
seconds = st.integers(0, 100_000).map(lambda milliseconds: milliseconds / 1000)
labels = single_lines.filter(lambda label: not set(label) & {"|", ":"})
options = st.builds(Option, labels, labels)
questions = st.builds(Question, labels, st.lists(options, min_size=1, max_size=3).map(tuple))
commands = single_lines.filter(lambda command: "# because " not in f"{command} ")
arguments = st.dictionaries(words, single_lines).map(json.dumps)
round_trips = st.one_of(
    st.builds(Run, commands, st.none() | commands),
    st.builds(PatchAdd, words, texts),
    st.builds(PatchUpdate, words, texts.filter(lambda old: "=>" not in old), texts),
    st.builds(PatchDelete, words),
    st.builds(Ask, st.lists(questions, min_size=1, max_size=3).map(tuple)),
    st.builds(Call, words, arguments),
)
steps = st.one_of(
    st.builds(Say, texts),
    st.builds(Think, texts),
    st.builds(Plan, texts),
    st.builds(Stream, st.integers(0, 999_999), seconds),
    st.builds(Wait, seconds),
    st.builds(Hold, words),
    round_trips,
)
endings = st.one_of(
    st.just(Hang()), st.just(FailStream()), st.builds(FailResponse, words, single_lines)
)
scripts = st.builds(
    lambda before, ending: Script((*before, *ending)),
    st.lists(steps, max_size=6),
    st.just(()) | st.tuples(endings),
)


@given(scripts)
def test_a_written_script_reads_back_the_same(script: Script) -> None:
    assert parse(write(script)) == script
    assert (find(write(script)) or Script()) == script


@given(scripts)
def test_acts_hold_every_step_once_and_only_their_last_is_a_round_trip(script: Script) -> None:
    assert tuple(step for act in script.acts for step in act) == script.steps
    assert not any(isinstance(step, RoundTrip) for act in script.acts for step in act[:-1])


def read(reader: Callable[[str], Script | None], text: str) -> Script | str | None:
    """What a text is read as, or what its author is told."""
    try:
        return reader(text)
    except ScriptError as error:
        return str(error)


@given(st.text())
def test_any_prompt_is_a_script_or_prose_or_a_clear_mistake(prompt: str) -> None:
    found = read(find, prompt)

    assert found is None or (found if isinstance(found, str) else found.steps)


@given(st.sampled_from(VERBS), st.text(printable, max_size=30))
def test_a_verb_with_anything_after_it_is_a_step_or_a_clear_mistake(verb: str, rest: str) -> None:
    found = read(parse, f"{verb} {rest}")

    if isinstance(found, Script):
        assert parse(write(found)) == found
    else:
        assert "script line 1" in (found or "")
