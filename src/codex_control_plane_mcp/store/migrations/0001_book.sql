-- The book, first edition. Portable SQL: SQLite and PostgreSQL read the same text.
-- Moments are milliseconds since 1970 (UTC). JSON is text.

CREATE TABLE operations (
    id                  TEXT NOT NULL PRIMARY KEY,
    type                TEXT NOT NULL,
    request             TEXT NOT NULL,
    client_request_id   TEXT,
    payload_hash        TEXT NOT NULL,
    prompt_key          TEXT,
    project_id          TEXT NOT NULL,
    cwd                 TEXT NOT NULL,
    agent_id            TEXT NOT NULL,
    resource_keys       TEXT NOT NULL,
    workflow_id         TEXT,
    priority            TEXT NOT NULL CHECK (priority IN ('low', 'normal', 'high')),
    sandbox             TEXT NOT NULL,
    status              TEXT NOT NULL CHECK (status IN (
        'queued', 'starting_thread', 'starting_turn', 'running',
        'waiting_for_approval', 'waiting_for_user_input',
        'completed', 'failed', 'interrupted', 'cancelled', 'unknown_after_app_server_exit')),
    created_at          BIGINT NOT NULL,
    due_at              BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL,
    started_at          BIGINT,
    completed_at        BIGINT,
    thread_id           TEXT,
    turn_id             TEXT,
    app_server_id       TEXT,
    worktree            TEXT,
    intent_attempt      INTEGER,
    intent_message_id   TEXT,
    intent_last_turn_id TEXT,
    policy              TEXT,
    report_text         TEXT,
    report_turn_id      TEXT,
    plan_item_id        TEXT,
    plan_markdown       TEXT,
    structured_status   TEXT,
    trouble_code        TEXT,
    trouble_message     TEXT,
    token_usage         TEXT,
    goal                TEXT,
    heard_at            BIGINT,
    last_seq            BIGINT NOT NULL,
    status_seq          BIGINT NOT NULL,
    generation          BIGINT NOT NULL,
    host                TEXT,
    -- What its host must have, as a JSON list in order.
    host_labels         TEXT NOT NULL DEFAULT '[]',
    -- Its folder on its host, where that is not the one that was asked for.
    checkout            TEXT,

    -- Ended, and only then, it has its end.
    CHECK ((completed_at IS NOT NULL) = (status IN (
        'completed', 'failed', 'interrupted', 'cancelled', 'unknown_after_app_server_exit'))),
    -- Nobody runs a turn that Codex has not accepted.
    CHECK (turn_id IS NOT NULL OR status NOT IN (
        'running', 'waiting_for_approval', 'waiting_for_user_input', 'interrupted')),
    CHECK (turn_id IS NOT NULL OR status <> 'completed' OR type IN (
        'fork_thread', 'archive_thread', 'unarchive_thread')),
    -- A turn is asked for only with the intent on record.
    CHECK (turn_id IS NULL OR intent_message_id IS NOT NULL),
    -- A completed operation has its report.
    CHECK (status <> 'completed' OR report_text IS NOT NULL),
    CHECK (status_seq <= last_seq),
    -- Who has claimed it is somewhere.
    CHECK (generation = 0 OR host IS NOT NULL)
);

CREATE UNIQUE INDEX operations_by_client_request ON operations (client_request_id)
    WHERE client_request_id IS NOT NULL;
CREATE UNIQUE INDEX operations_same_prompt ON operations (prompt_key)
    WHERE prompt_key IS NOT NULL AND completed_at IS NULL;
CREATE UNIQUE INDEX operations_one_turn_a_thread ON operations (thread_id)
    WHERE thread_id IS NOT NULL AND completed_at IS NULL AND started_at IS NOT NULL
    AND type <> 'steer_turn';
CREATE INDEX operations_unfinished ON operations (status, created_at)
    WHERE completed_at IS NULL;
-- The queue, a line for each agent, with all that the choice of the next one reads.
CREATE INDEX operations_lines
    ON operations (agent_id, due_at, id, project_id, thread_id, sandbox, status, type)
    WHERE status = 'queued' AND type <> 'steer_turn';
CREATE INDEX operations_steering ON operations (due_at, id)
    WHERE status = 'queued' AND type = 'steer_turn';
-- When an agent's line last moved.
CREATE INDEX operations_served ON operations (agent_id, started_at)
    WHERE started_at IS NOT NULL AND type <> 'steer_turn';
CREATE INDEX operations_by_thread ON operations (thread_id, created_at);
CREATE INDEX operations_by_project ON operations (project_id, created_at);
CREATE INDEX operations_by_workflow ON operations (workflow_id, created_at)
    WHERE workflow_id IS NOT NULL;
CREATE INDEX operations_in_trouble ON operations (updated_at) WHERE trouble_code IS NOT NULL;

CREATE TABLE journal (
    operation_id TEXT NOT NULL REFERENCES operations (id),
    seq          BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    category     TEXT NOT NULL,
    text         TEXT NOT NULL,
    item_id      TEXT,
    PRIMARY KEY (operation_id, seq)
) /*sqlite WITHOUT ROWID */;

CREATE TABLE interactions (
    id            TEXT NOT NULL PRIMARY KEY,
    operation_id  TEXT NOT NULL REFERENCES operations (id),
    app_server_id TEXT NOT NULL,
    request_id    TEXT NOT NULL,
    kind          TEXT NOT NULL,
    method        TEXT NOT NULL,
    thread_id     TEXT NOT NULL,
    turn_id       TEXT,
    item_id       TEXT,
    asked         TEXT NOT NULL,
    status        TEXT NOT NULL CHECK (status IN (
        'pending', 'answered', 'auto_declined', 'expired', 'withdrawn')),
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    closed_at     BIGINT,
    answered_by   TEXT,
    answered_at   BIGINT,
    answer        TEXT,
    CHECK ((closed_at IS NOT NULL) = (status <> 'pending'))
);

-- Request ids are small integers that start anew with each app-server process.
CREATE UNIQUE INDEX interactions_by_request
    ON interactions (operation_id, app_server_id, request_id);
CREATE INDEX interactions_open ON interactions (created_at, id) WHERE closed_at IS NULL;
CREATE INDEX interactions_newest ON interactions (created_at, id);

CREATE TABLE wishes (
    id             TEXT NOT NULL PRIMARY KEY,
    operation_id   TEXT NOT NULL REFERENCES operations (id),
    kind           TEXT NOT NULL CHECK (kind IN ('answer', 'cancel', 'look')),
    interaction_id TEXT REFERENCES interactions (id),
    payload        TEXT NOT NULL,
    made_by        TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    sent_at        BIGINT,
    done_at        BIGINT,
    outcome        TEXT,
    CHECK ((interaction_id IS NOT NULL) = (kind = 'answer')),
    CHECK ((done_at IS NULL) = (outcome IS NULL))
);

-- The first answer wins; one that could not be delivered makes room for another.
CREATE UNIQUE INDEX wishes_one_answer ON wishes (interaction_id)
    WHERE interaction_id IS NOT NULL AND (outcome IS NULL OR outcome = 'done');
CREATE UNIQUE INDEX wishes_one_cancel ON wishes (operation_id)
    WHERE kind = 'cancel' AND done_at IS NULL;
CREATE INDEX wishes_open ON wishes (created_at, id) WHERE done_at IS NULL;
CREATE INDEX wishes_by_interaction ON wishes (interaction_id) WHERE interaction_id IS NOT NULL;

-- Tasks whose callers cannot name them: the operation that the same task made last.
CREATE TABLE repeats (
    payload_hash TEXT NOT NULL PRIMARY KEY,
    operation_id TEXT NOT NULL REFERENCES operations (id)
) /*sqlite WITHOUT ROWID */;

CREATE TABLE workflows (
    id                TEXT NOT NULL PRIMARY KEY,
    kind              TEXT NOT NULL CHECK (kind IN ('plan_then_execute', 'code_review')),
    client_request_id TEXT,
    payload_hash      TEXT NOT NULL,
    project_id        TEXT NOT NULL,
    cwd               TEXT NOT NULL,
    title             TEXT,
    terms             TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    operation_ids     TEXT NOT NULL,
    adoption          TEXT,
    approval          TEXT,
    -- Only a plan is adopted and approved.
    CHECK (kind = 'plan_then_execute' OR (adoption IS NULL AND approval IS NULL))
);

CREATE UNIQUE INDEX workflows_by_client_request ON workflows (client_request_id)
    WHERE client_request_id IS NOT NULL;

CREATE TABLE workers (
    id           TEXT NOT NULL PRIMARY KEY,
    generation   BIGINT NOT NULL UNIQUE,
    pid          BIGINT NOT NULL,
    version      TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL,
    left_at      BIGINT,
    host         TEXT NOT NULL
);

-- A turn may be asked for without its thread.
CREATE INDEX operations_by_turn ON operations (turn_id) WHERE turn_id IS NOT NULL;

-- What Codex's hooks told of turns that are not ours.
CREATE TABLE hook_history (
    seq       BIGINT NOT NULL PRIMARY KEY,
    event_id  TEXT NOT NULL UNIQUE,
    kind      TEXT NOT NULL CHECK (kind IN ('session', 'prompt', 'answer')),
    at        BIGINT NOT NULL,
    thread_id TEXT NOT NULL,
    turn_id   TEXT,
    cwd       TEXT NOT NULL,
    model     TEXT,
    text      TEXT NOT NULL,
    -- What is said is said in a turn.
    CHECK ((turn_id IS NULL) = (kind = 'session'))
);

CREATE INDEX hook_history_by_thread ON hook_history (thread_id, at, seq);

-- Repairs: what somebody wants mended, and what came of it.
CREATE TABLE repairs (
    id         TEXT NOT NULL PRIMARY KEY,
    action     TEXT NOT NULL,
    scope      TEXT NOT NULL,
    dry_run    INTEGER NOT NULL CHECK (dry_run IN (0, 1)),
    force      INTEGER NOT NULL CHECK (force IN (0, 1)),
    made_by    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    done_at    BIGINT,
    outcome    TEXT,
    changes    TEXT NOT NULL,
    result     TEXT,
    host       TEXT NOT NULL,
    -- The dry run that it carries out.
    plan_id    TEXT,
    CHECK ((done_at IS NULL) = (outcome IS NULL)),
    -- A dry run changes nothing.
    CHECK (dry_run = 0 OR outcome IS NULL OR outcome <> 'applied'),
    CHECK (dry_run = 0 OR plan_id IS NULL)
);

CREATE INDEX repairs_newest ON repairs (created_at, id);
CREATE INDEX repairs_open ON repairs (created_at, id) WHERE done_at IS NULL;

-- The hosts of a fleet. A book that is a file has none.
CREATE TABLE hosts (
    id            TEXT NOT NULL PRIMARY KEY,
    -- Names the lock that its worker holds for life.
    number        BIGINT NOT NULL UNIQUE,
    -- Tells its Codex home from another one that goes by the same name.
    home_id       TEXT NOT NULL UNIQUE,
    codex_home    TEXT NOT NULL,
    capacity      BIGINT NOT NULL,
    codex_version TEXT,
    entered_at    BIGINT NOT NULL,
    heard_at      BIGINT NOT NULL,
    -- What a task may ask for, as a JSON list in order.
    labels        TEXT NOT NULL DEFAULT '[]',
    -- The newest edition of the book that its worker knows.
    edition       BIGINT NOT NULL,
    -- When somebody said that it will not come back. Its row stays: a number is given once.
    forgotten_at  BIGINT
);

CREATE TABLE host_projects (
    host       TEXT NOT NULL REFERENCES hosts (id),
    project_id TEXT NOT NULL,
    path       TEXT NOT NULL,
    -- Where its repository comes from: says which projects of several hosts are the same.
    remote     TEXT,
    PRIMARY KEY (host, project_id)
) /*sqlite WITHOUT ROWID */;

CREATE INDEX workers_by_host ON workers (host, generation);
-- Where a thread lives is where its newest operation ran.
CREATE INDEX operations_at_home ON operations (thread_id, created_at)
    WHERE thread_id IS NOT NULL AND host IS NOT NULL;

-- The outbox: what a person is to be told, once for each receiver.
CREATE TABLE notices (
    seq          BIGINT NOT NULL PRIMARY KEY,
    -- Named after the fact: it stays the same however often it is sent.
    id           TEXT NOT NULL,
    receiver     TEXT NOT NULL CHECK (receiver IN ('webhook', 'command', 'desktop')),
    -- Who delivers it: the host that wrote the fact down.
    host         TEXT NOT NULL,
    operation_id TEXT NOT NULL REFERENCES operations (id),
    notice       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    attempts     BIGINT NOT NULL,
    -- When it is tried next.
    due_at       BIGINT NOT NULL,
    trouble      TEXT,
    delivered_at BIGINT,
    dead_at      BIGINT,
    UNIQUE (id, receiver),
    CHECK (delivered_at IS NULL OR dead_at IS NULL)
);

CREATE INDEX notices_waiting ON notices (receiver, host, operation_id, seq)
    WHERE delivered_at IS NULL AND dead_at IS NULL;
CREATE INDEX notices_delivered ON notices (delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX notices_dead ON notices (dead_at) WHERE dead_at IS NOT NULL;

-- How many ended how, and since when: counted without reading a task.
CREATE INDEX operations_ended ON operations (status, completed_at)
    WHERE completed_at IS NOT NULL;

-- One row: how often it has changed who may claim what, and whose turn it is to change that.
CREATE TABLE claim_epoch (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    number BIGINT NOT NULL
);

INSERT INTO claim_epoch (one, number) VALUES (1, 0);
