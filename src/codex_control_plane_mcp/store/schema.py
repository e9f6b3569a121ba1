"""The tables as SQLAlchemy sees them. The migrations make them; a test compares the two."""

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

metadata = MetaData()

operations = Table(
    "operations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("client_request_id", Text),
    Column("payload_hash", Text, nullable=False),
    Column("prompt_key", Text),
    Column("project_id", Text, nullable=False),
    Column("cwd", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("resource_keys", Text, nullable=False),
    Column("workflow_id", Text),
    Column("priority", Text, nullable=False),
    Column("sandbox", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("thread_id", Text),
    Column("turn_id", Text),
    Column("app_server_id", Text),
    Column("worktree", Text),
    Column("intent_attempt", Integer),
    Column("intent_message_id", Text),
    Column("intent_last_turn_id", Text),
    Column("policy", Text),
    Column("report_text", Text),
    Column("report_turn_id", Text),
    Column("plan_item_id", Text),
    Column("plan_markdown", Text),
    Column("structured_status", Text),
    Column("trouble_code", Text),
    Column("trouble_message", Text),
    Column("token_usage", Text),
    Column("goal", Text),
    Column("heard_at", BigInteger),
    Column("last_seq", BigInteger, nullable=False),
    Column("status_seq", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("host", Text),
    Column("host_labels", Text, nullable=False, server_default="[]"),
    Column("checkout", Text),
)

journal = Table(
    "journal",
    metadata,
    Column("operation_id", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("category", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("item_id", Text),
)

interactions = Table(
    "interactions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("operation_id", Text, nullable=False),
    Column("app_server_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("thread_id", Text, nullable=False),
    Column("turn_id", Text),
    Column("item_id", Text),
    Column("asked", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("closed_at", BigInteger),
    Column("answered_by", Text),
    Column("answered_at", BigInteger),
    Column("answer", Text),
)

wishes = Table(
    "wishes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("operation_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("interaction_id", Text),
    Column("payload", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("sent_at", BigInteger),
    Column("done_at", BigInteger),
    Column("outcome", Text),
)

repeats = Table(
    "repeats",
    metadata,
    Column("payload_hash", Text, primary_key=True),
    Column("operation_id", Text, nullable=False),
)

workflows = Table(
    "workflows",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("client_request_id", Text),
    Column("payload_hash", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("cwd", Text, nullable=False),
    Column("title", Text),
    Column("terms", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("operation_ids", Text, nullable=False),
    Column("adoption", Text),
    Column("approval", Text),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("heartbeat_at", BigInteger, nullable=False),
    Column("left_at", BigInteger),
    Column("host", Text, nullable=False),
)

hook_history = Table(
    "hook_history",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("thread_id", Text, nullable=False),
    Column("turn_id", Text),
    Column("cwd", Text, nullable=False),
    Column("model", Text),
    Column("text", Text, nullable=False),
)

repairs = Table(
    "repairs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("action", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("dry_run", Integer, nullable=False),
    Column("force", Integer, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("done_at", BigInteger),
    Column("outcome", Text),
    Column("changes", Text, nullable=False),
    Column("result", Text),
    Column("host", Text, nullable=False),
    Column("plan_id", Text),
)

hosts = Table(
    "hosts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("home_id", Text, nullable=False),
    Column("codex_home", Text, nullable=False),
    Column("capacity", BigInteger, nullable=False),
    Column("codex_version", Text),
    Column("entered_at", BigInteger, nullable=False),
    Column("heard_at", BigInteger, nullable=False),
    Column("labels", Text, nullable=False, server_default="[]"),
    Column("edition", BigInteger, nullable=False),
    Column("forgotten_at", BigInteger),
)

host_projects = Table(
    "host_projects",
    metadata,
    Column("host", Text, primary_key=True),
    Column("project_id", Text, primary_key=True),
    Column("path", Text, nullable=False),
    Column("remote", Text),
)

notices = Table(
    "notices",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("operation_id", Text, nullable=False),
    Column("notice", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("trouble", Text),
    Column("delivered_at", BigInteger),
    Column("dead_at", BigInteger),
)

claim_epoch = Table(
    "claim_epoch",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)

edition = Table(
    "edition",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("applied_at", BigInteger, nullable=False),
    Column("usable_from", Integer, nullable=False),
)
