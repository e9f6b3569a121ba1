"""The sentence behind each `nextRecommendedAction`: what an agent should do now."""

from typing import Final

from codex_control_plane_mcp.doors.mcp.fit import Json

SENTENCES: Final = {
    "none": "Nothing needs to be done.",
    # Operations
    "wait": "It is at work or about to be. Call codex_wait or its status with wait_seconds; do "
    "not submit it again.",
    "answer_pending_interaction": "Codex asks something and waits. Show who decides what "
    "codex_list_pending_interactions lists, then call codex_answer_pending_interaction.",
    "read_final_report": "It has ended. Read finalReport, with nextOffset to its end.",
    "inspect_last_error": "It failed. Read lastError; codex_analyze_issue with its operation_id "
    "says why, and what to do.",
    "inspect_thread_before_resubmitting": "Nobody knows whether the turn did its work. Look at the "
    "folder and the chat before the task is sent again.",
    # Workflows
    "wait_plan": "Codex is planning. Call codex_get_workflow_status with wait_seconds.",
    "review_plan": "Planning ended without a plan. Read finalReport, and answer with "
    "codex_submit_task (send_message, workflow_id).",
    "execute_plan": "Show all of latestPlan to whoever decides. With their word call "
    "codex_approve_plan and its planHash.",
    "adopt_candidate_plan": "The thread has a newer plan. Show candidatePlan to whoever decides, "
    "then call codex_adopt_workflow_plan.",
    "wait_execution": "The plan is being carried out. Call codex_get_workflow_status with "
    "wait_seconds.",
    "wait_review": "The review is being made. Call codex_get_workflow_status with wait_seconds.",
    "inspect_diagnostics": "Call codex_analyze_issue: it names the cause and the next step.",
    # Preflight
    "submit_task": "A task would run. Submit it.",
    "read_checks_then_submit_task": "A task would run, but read the warnings in checks first.",
    "mend_failed_checks": "A task would not run. Do what the failed checks advise.",
    # Diagnosis and repair
    "set_projects_root": "Have the person set CODEX_PROJECTS_ROOT or CODEX_ALLOWED_ROOTS: until "
    "then no task is taken.",
    "follow_findings": "Do what the first finding's nextStep says.",
    "apply_repair": "Nothing has been changed yet. If the changes are right, call the same with "
    "dry_run false.",
    "heed_refusal": "It would be refused now; result says why.",
    "check_again": "Call codex_analyze_issue again to see whether it helped.",
    # Errors
    "correct_arguments": "Correct the argument that the message names, and call again.",
    "look_up_id": "Take the id from the tool that the message names.",
    "follow_existing_operation": "Follow the operation in details.existingOperationId.",
    "use_new_client_request_id": "Use a new client_request_id for a new task.",
    "list_pending_interactions": "Call codex_list_pending_interactions to see what is open now.",
    "try_again": "Make the same call again in a few seconds.",
}


def guide(result: Json) -> None:
    """Say what the recommended action of a result means, where one is recommended."""
    action = result.get("nextRecommendedAction")
    if action in SENTENCES and "nextStep" not in result:
        result["nextStep"] = SENTENCES[action]
