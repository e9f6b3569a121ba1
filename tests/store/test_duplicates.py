"""The same prompt and the same client request: the database itself lets only one in."""

import pytest
from sqlalchemy.exc import IntegrityError

from codex_control_plane_mcp.model.ids import OperationId, new_operation_id
from codex_control_plane_mcp.model.operation import FINAL, Status
from codex_control_plane_mcp.model.request import DedupPolicy, prompt_key
from codex_control_plane_mcp.store import lookup, operations
from codex_control_plane_mcp.store.book import Writing
from tests.model.lives import LIFE
from tests.store.actors import Desk, all_at_once
from tests.store.actors import desk as desk_at


@pytest.mark.parametrize("status", sorted(set(Status) - FINAL))
def test_the_same_prompt_is_refused_while_the_first_is_in_the_house(
    desk: Desk, status: Status
) -> None:
    first = desk.record(desk.submit(desk.submission("Fix the roof.")), *LIFE[status])
    again = desk.submission("fix  THE roof.")
    with pytest.raises(IntegrityError):
        desk.submit(again)
    key = prompt_key(again)
    assert key is not None
    assert desk.read(lambda c: lookup.unfinished_with_prompt(c, key)) == first
    assert desk.count("operations") == desk.count("operations") == 1


@pytest.mark.parametrize("status", sorted(FINAL))
def test_the_same_prompt_is_welcome_once_the_first_has_ended(desk: Desk, status: Status) -> None:
    submission = desk.submission("Fix the roof.")
    first = desk.record(desk.submit(submission), *LIFE[status])
    key = prompt_key(submission)
    assert key is not None
    assert desk.read(lambda c: lookup.unfinished_with_prompt(c, key)) is None
    assert desk.submit(submission).id != first.id


def test_the_same_prompt_is_welcome_in_another_project_or_without_the_guard(desk: Desk) -> None:
    desk.submit(desk.submission("Fix the roof."))
    desk.submit(desk.submission("Fix the roof.", project="garden"))
    for _ in range(2):
        desk.submit(desk.submission("Fix the roof.", dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY))
    assert desk.count("operations") == 4


def test_a_client_request_id_is_used_once_even_after_the_end(desk: Desk) -> None:
    first = desk.submit(desk.submission(client_request_id="mine"))
    desk.record(first, *LIFE[Status.CANCELLED])
    with pytest.raises(IntegrityError):
        desk.submit(desk.submission(client_request_id="mine"))
    desk.submit(desk.submission(client_request_id="Mine"))


def test_try_insert_says_none_to_the_second_and_the_transaction_goes_on(desk: Desk) -> None:
    submission = desk.submission("Fix the roof.", client_request_id="mine")

    def work(writing: Writing) -> None:
        first = operations.try_insert(writing, OperationId("op-1"), submission)
        assert operations.try_insert(writing, OperationId("op-2"), submission) is None
        found = lookup.by_client_request(writing.connection, "mine")
        assert found is not None
        assert found[0] == first
        assert {id_ for _, id_ in writing.news} == {"op-1"}

    desk.write(work)
    assert desk.count("operations") == 1
    assert desk.journal(OperationId("op-1")) == ["Queued."]


def test_of_thirty_who_submit_the_same_at_once_one_gets_in(desk: Desk) -> None:
    submission = desk.submission("Fix the roof.", client_request_id="mine")

    def submit(_: int) -> tuple[bool, str]:
        def work(writing: Writing) -> tuple[bool, str]:
            made = operations.try_insert(writing, new_operation_id(writing.now), submission)
            found = lookup.by_client_request(writing.connection, "mine")
            assert found is not None
            return made is not None, found[0].id

        with desk_at(desk.where) as mine:
            return mine.write(work)

    answers = all_at_once(30, submit)
    assert sum(made for made, _ in answers) == 1
    assert len({id_ for _, id_ in answers}) == 1
    assert desk.count("operations") == desk.count("journal") == 1
