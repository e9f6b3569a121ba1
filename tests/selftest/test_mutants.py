"""The sweep has teeth: the product broken on purpose is noticed, each time."""

import dataclasses
import importlib
from pathlib import Path

import pytest

from codex_control_plane_mcp.selftest import mutants
from codex_control_plane_mcp.selftest.mutants import MUTANTS, Edit, Mutant, Stale


@pytest.mark.nightly
def test_every_mutant_is_caught_by_the_promise_that_it_breaks() -> None:
    verdicts = {verdict.mutant: verdict for verdict in mutants.run()}
    report = [
        f"{mutant.name}: breaks {mutant.breaks}, caught by {verdicts[mutant.name]}"
        for mutant in MUTANTS
        if verdicts[mutant.name].caught_by != mutant.breaks
    ]
    assert report == []


def test_there_are_twenty_mutants_and_they_break_every_promise() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    assert {mutant.breaks for mutant in MUTANTS} == {f"I{number}" for number in range(1, 9)}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_text_that_a_mutant_changes_is_there_once(mutant: Mutant) -> None:
    for module in {edit.module for edit in mutant.edits}:
        name = f"codex_control_plane_mcp.{module}"
        home = importlib.import_module(name.rpartition(".")[0])
        spec = mutants.Surgeon(mutant.edits).find_spec(name, list(home.__path__))
        assert spec is not None
        assert spec.loader is not None
        spec.loader.get_code(name)  # type: ignore[attr-defined]


def test_the_table_in_the_documentation_is_theirs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| broken on purpose | caught by |\n|---|---|\n")
    rows = table.partition("\n\n")[0].splitlines()
    assert sorted(rows) == sorted(f"| {one.broken} | {one.breaks} |" for one in MUTANTS)


def test_a_mutant_whose_text_is_gone_is_an_error() -> None:
    cut = mutants.Surgeon([Edit("clock", "no such text", "")])
    spec = cut.find_spec("codex_control_plane_mcp.clock", _package_path())
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(Stale, match="holds 0 times"):
        spec.loader.get_code("codex_control_plane_mcp.clock")  # type: ignore[attr-defined]


def test_a_mutant_whose_module_is_never_loaded_is_an_error() -> None:
    with pytest.raises(Stale, match="never loaded"):
        mutants.Surgeon([Edit("clock", "a", "b")]).must_have_cut()


def test_a_product_that_is_not_broken_is_not_caught() -> None:
    sound = dataclasses.replace(MUTANTS[0], edits=(), cases="plan: undisturbed")
    told = mutants.hunt(sound)
    assert not told.is_caught
    assert told.histories == 1


def _package_path() -> list[str]:
    import codex_control_plane_mcp

    return list(codex_control_plane_mcp.__path__)
