"""What a step takes from the results that came back."""

import json

import pytest

from codex_control_plane_mcp.scripted_model.recall import recalled
from codex_control_plane_mcp.scripted_model.script import ScriptError, parse, write

SUBMITTED = json.dumps({"ok": True, "operationId": "op-1", "latestSeq": 4})
DONE = json.dumps(
    {"text": "not this", "finalReport": {"threadId": "t", "text": 'It "works"\nnow'}, "seq": 9}
)


def told(script: str, *results: str) -> str:
    return write(recalled(parse(script).steps, results))


def test_a_call_and_a_say_take_what_came_back() -> None:
    script = 'call status {"operation_ids": ["${operationId}"]}'

    assert told(script, SUBMITTED) == 'call status {"operation_ids": ["op-1"]}'
    assert told("say ${operationId} at ${seq}.", SUBMITTED, DONE) == "say op-1 at 9."


def test_the_latest_result_wins() -> None:
    assert told("say ${operationId}", SUBMITTED, '{"operationId": "op-2"}') == "say op-2"


def test_a_dotted_name_is_looked_for_behind_its_first_part() -> None:
    running = '{"finalReport": null, "progressEvents": [{"text": "Queued."}]}'

    assert told("say ${finalReport.text}", DONE, running) == r'say It "works"\nnow'


def test_a_value_stays_one_string_within_the_arguments_of_a_call() -> None:
    assert told('call note {"text": "${finalReport.text}"}', DONE) == (
        r'call note {"text": "It \"works\"\nnow"}'
    )


def test_prose_and_strings_around_a_result_do_not_hide_it() -> None:
    wrapped = json.dumps({"result": json.dumps({"content": DONE})})

    assert told("say ${finalReport.text}", f"Output:\n{wrapped}") == r'say It "works"\nnow'
    assert told("say ${operationId}", f"Wall time: 1 s\n{SUBMITTED}\n") == "say op-1"


def test_what_no_result_holds_is_a_mistake_of_the_script() -> None:
    with pytest.raises(ScriptError, match="no result that came back holds 'planHash'"):
        told("say ${planHash}", SUBMITTED)


def test_other_steps_keep_their_dollars() -> None:
    assert told("run echo ${HOME}") == "run echo ${HOME}"
