"""What a client is told when it connects: how to work with the tools that it is offered, and of no
others. An agent reads it before its first call, and each time."""

from collections.abc import Sequence

from codex_control_plane_mcp.settings import ToolSet

_FIRST = """\
Durable tasks for Codex, the coding agent on this machine. A task goes on when you time out, \
disconnect or are restarted; nothing is lost and nothing runs twice.
"""

_CORE = """\
1. codex_submit_task with operation_type "start_chat", a message, and project_id or cwd. It \
returns at once with operationId: keep it. Give a client_request_id of your own and you may send \
the same call again after any doubt: it never starts a second task.
2. codex_wait with your operation_ids and wait_seconds 45: it returns once one has ended or needs \
you. While unfinished is not 0 call it again with its cursor. For one task alone \
codex_get_operation_status with wait_seconds waits in the same way and shows the report; with \
after_seq = the last nextAfterSeq it shows only what is new, and returns at every event. Long \
silence is normal (quietForSeconds is a fact, not a failure): do not submit again.
3. nextRecommendedAction says what to do.
   answer_pending_interaction: Codex asks something. codex_list_pending_interactions shows it; put \
command, cwd, reason and riskSummary before the person who decides, then \
codex_answer_pending_interaction.
   read_final_report: finalReport.text is what Codex said at the end; while finalReport.nextOffset \
is not null, read on with report_offset.
   inspect_last_error: lastError says what went wrong.
4. To go on in the same thread: codex_submit_task with operation_type "send_message" and thread_id.
5. To have a plan decided on before anything is changed: codex_start_plan_workflow, then \
codex_get_workflow_status (or codex_wait with workflow_ids) until phase is plan_ready. Show all of \
latestPlan to whoever decides. codex_submit_task with send_message and workflow_id has it made \
anew; codex_approve_plan with its planHash has it carried out, once. codex_start_review_workflow \
reviews code in the same way.
6. codex_interrupt_turn stops a task or a workflow.
"""

_READ = """\
codex_list_projects shows where tasks can be sent; codex_get_queue_status what waits, and why.
"""

_DIAGNOSE = """\
When something is wrong, codex_analyze_issue (with operation_id, if it is about one) names the \
cause and the next step. codex_repair_issue mends: look at its dry run first.
"""

_DROPIN = """\
codex(prompt, cwd) and codex-reply(prompt, threadId) do the same in one call: content is Codex's \
answer once status is completed. Until then the same call again waits on; after that it is a new \
task.
"""

_LAST = """\
Final statuses: completed, failed, interrupted, cancelled, and unknown_after_app_server_exit, \
which is no success: look at the folder before you try again. Defaults are sandbox read-only and \
approval_policy on-request; ask for workspace-write where files shall change.

Errors come as {"ok": false, "error": {code, message, details, retryable}}; message says what to \
do. CODEX_DUPLICATE_PROMPT_ACTIVE: the same prompt is being worked on; follow existingOperationId. \
Retry only where retryable is true. truncated: something was left out to keep the result short.
"""

_OF_SET: dict[ToolSet, str] = {
    "core": _CORE,
    "read": _READ,
    "diagnose": _DIAGNOSE,
    "dropin": _DROPIN,
}


def instructions(toolsets: Sequence[ToolSet]) -> str:
    parts = [_OF_SET[one] for one in toolsets if one in _OF_SET]
    return "\n".join([_FIRST, *parts, _LAST])
