"""The findings as they are shown: the likely cause, the evidence, and what may mend it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from codex_control_plane_mcp.desk.diagnosis.facts import Facts
from codex_control_plane_mcp.desk.diagnosis.rules import Confidence, Finding, analyze
from codex_control_plane_mcp.desk.views_diagnostics import (
    AnalysisView,
    FindingView,
    RepairAdvice,
    RootCause,
)
from codex_control_plane_mcp.model.repair import NEED_FORCE, Action

#: More do not help whoever wants to know what is wrong.
MOST: Final = 10
ALL_WELL: Final = "Nothing is known to be wrong."

#: What an action is applied to; the whole where it is not named here.
_APPLIES_TO: Final[Mapping[Action, str]] = {
    Action.MARK_ORPHANED_AFTER_EXIT: "operation_id",
    Action.INTERRUPT_TURN: "operation_id",
    Action.RECONCILE_WORKFLOW_FROM_THREAD: "workflow_id",
    Action.RETRY_WORKFLOW_WITH_RUNTIME_POLICY: "workflow_id",
}


def analysis(facts: Facts) -> AnalysisView:
    found = analyze(facts)[:MOST]
    first = found[0] if found else None
    return AnalysisView(
        likely_root_cause=None
        if first is None
        else RootCause(first.category, first.confidence, first.summary),
        findings=tuple(map(shown, found)),
        recommended_repair_actions=tuple(_advice(found, facts)),
        next_recommended_action=next_action(found),
        next_step=next_step(found),
    )


def shown(finding: Finding) -> FindingView:
    return FindingView(
        finding.category,
        finding.confidence,
        finding.summary,
        finding.evidence,
        finding.next_step,
        finding.operation_id,
    )


def next_action(found: Sequence[Finding]) -> str:
    return "follow_findings" if found else "none"


def next_step(found: Sequence[Finding]) -> str:
    return found[0].next_step if found else ALL_WELL


def _advice(found: Sequence[Finding], facts: Facts) -> Iterable[RepairAdvice]:
    """Each repair once. What is only guessed at calls for none."""
    workflows = {case.operation.id: case.operation.workflow_id for case in facts.cases}
    advised: dict[tuple[object, ...], RepairAdvice] = {}
    for finding in found:
        action = finding.repair
        if action is None or finding.confidence is Confidence.LOW:
            continue
        ids = {
            "operation_id": finding.operation_id,
            "workflow_id": next(
                (one for id_, one in workflows.items() if id_ == finding.operation_id), None
            ),
        }
        name = _APPLIES_TO.get(action)
        arguments: dict[str, object] = {} if name is None else {name: ids[name]}
        advised.setdefault(
            (action, *arguments.values()),
            RepairAdvice(action, arguments, finding.summary, action in NEED_FORCE),
        )
    return advised.values()
