-- Batches: files of lines, batches over them, and one item per line that was fed to the queue. Lines, items and answers are
-- partitioned by the day (UTC) on which their file or batch was made, so that old ones are dropped, not deleted.

CREATE TABLE files (
    id          text PRIMARY KEY,
    account_id  text NOT NULL REFERENCES accounts,
    day         date NOT NULL, -- the partition of its lines
    form        text NOT NULL CHECK (form IN ('native', 'openai')),
    filename    text NOT NULL,
    endpoint    text, -- what its lines are for; null as long as no line was understood
    state       text NOT NULL DEFAULT 'uploading' CHECK (state IN ('uploading', 'ready', 'deleted')),
    bytes       bigint NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    lines       integer NOT NULL DEFAULT 0 CHECK (lines >= 0),
    bad_lines   integer NOT NULL DEFAULT 0 CHECK (bad_lines BETWEEN 0 AND lines),
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX files_by_account ON files (account_id, created_at DESC, id DESC);
CREATE INDEX files_by_end ON files (expires_at) WHERE state <> 'deleted';

-- A line as it was understood (`asked`), or why it was not. `number` is its place in the file, from 1.
CREATE TABLE file_lines (
    day           date NOT NULL,
    file_id       text NOT NULL,
    number        integer NOT NULL CHECK (number > 0),
    custom_id     text,
    provider      text,
    asked         bytea,
    error_code    text,
    error_message text,
    PRIMARY KEY (file_id, number, day),
    CONSTRAINT file_lines_good_or_bad CHECK ((asked IS NULL) = (error_code IS NOT NULL) AND (asked IS NULL) = (provider IS NULL))
) PARTITION BY RANGE (day);
CREATE INDEX file_lines_bad ON file_lines (file_id, number) WHERE error_code IS NOT NULL;

-- `failed` begins with the bad lines, `fed` counts those that became items. `paused_for` and `needed_nano` say what a paused
-- batch waits for. An end state only after every item has ended.
CREATE TABLE batches (
    id           text PRIMARY KEY,
    account_id   text NOT NULL REFERENCES accounts,
    key_id       text NOT NULL,
    file_id      text NOT NULL REFERENCES files,
    file_day     date NOT NULL,
    day          date NOT NULL, -- the partition of its items
    form         text NOT NULL CHECK (form IN ('native', 'openai')),
    endpoint     text NOT NULL,
    state        text NOT NULL CHECK (state IN (
        'validating', 'in_progress', 'paused', 'finalizing', 'completed', 'failed', 'expired', 'cancelling', 'cancelled')),
    paused_for   text,
    needed_nano  bigint,
    total        integer NOT NULL DEFAULT 0,
    bad          integer NOT NULL DEFAULT 0,
    fed          integer NOT NULL DEFAULT 0,
    completed    integer NOT NULL DEFAULT 0,
    failed       integer NOT NULL DEFAULT 0,
    cancelled    integer NOT NULL DEFAULT 0,
    expired      integer NOT NULL DEFAULT 0,
    charged_nano bigint NOT NULL DEFAULT 0 CHECK (charged_nano >= 0),
    ends_as      text NOT NULL DEFAULT 'completed' CHECK (ends_as IN ('completed', 'expired', 'cancelled')),
    metadata     jsonb,
    exported_to  text,
    export_after timestamptz, -- of one that is to be exported: nobody tries before this
    deleted_files text[] NOT NULL DEFAULT '{}', -- files made of its results that its owner has deleted
    created_at   timestamptz NOT NULL,
    started_at   timestamptz,
    cancelled_at timestamptz,
    finalized_at timestamptz,
    ended_at     timestamptz,
    expires_at   timestamptz NOT NULL,
    CONSTRAINT batches_count_no_line_twice CHECK (
        least(bad, fed, completed, failed, cancelled, expired) >= 0 AND fed <= total - bad
        AND completed + failed + cancelled + expired <= total),
    CONSTRAINT batches_end_with_every_line CHECK (
        ended_at IS NULL OR state = 'failed' OR completed + failed + cancelled + expired = total)
) WITH (fillfactor = 50); -- hot rows: room for in-page updates
CREATE INDEX batches_by_account ON batches (account_id, created_at DESC, id DESC);
CREATE INDEX batches_open ON batches (created_at) WHERE ended_at IS NULL;

-- Per batch and provider: the number of the last line that was fed, and how many are left.
CREATE TABLE batch_cursors (
    batch_id text NOT NULL REFERENCES batches ON DELETE CASCADE,
    provider text NOT NULL,
    fed_to   integer NOT NULL DEFAULT 0,
    left_over integer NOT NULL CHECK (left_over >= 0),
    PRIMARY KEY (batch_id, provider)
);

-- A line that was fed: its one request, and what came of it.
CREATE TABLE batch_items (
    day           date NOT NULL,
    batch_id      text NOT NULL,
    number        integer NOT NULL,
    account_id    text NOT NULL,
    provider      text NOT NULL,
    model         text NOT NULL,
    request_id    text NOT NULL,
    hold_nano     bigint NOT NULL CHECK (hold_nano >= 0),
    bytes         integer NOT NULL CHECK (bytes >= 0),
    fed_at        timestamptz NOT NULL,
    state         text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'completed', 'failed', 'cancelled', 'expired')),
    error_code    text,
    error_message text,
    PRIMARY KEY (batch_id, number, day)
) PARTITION BY RANGE (day);
CREATE INDEX batch_items_running ON batch_items (provider, account_id, model) WHERE state = 'running';

-- The answers of completed items, as a worker packed them.
CREATE TABLE batch_answers (
    day      date NOT NULL,
    batch_id text NOT NULL,
    number   integer NOT NULL,
    answer   bytea NOT NULL,
    PRIMARY KEY (batch_id, number, day)
) PARTITION BY RANGE (day);

-- Which item a request is for.
ALTER TABLE requests ADD COLUMN batch_id text, ADD COLUMN batch_number integer, ADD COLUMN batch_day date;

CREATE TABLE file_lines_default PARTITION OF file_lines DEFAULT;
CREATE TABLE batch_items_default PARTITION OF batch_items DEFAULT;
CREATE TABLE batch_answers_default PARTITION OF batch_answers DEFAULT;

-- Make the daily partitions of today and the following days, and drop those of more than `days_kept` days ago.
CREATE FUNCTION rotate_days(days_ahead integer, days_kept integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    partition text;
    one date;
    today date := (now() AT TIME ZONE 'UTC')::date;
    late boolean;
    changed integer := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['file_lines', 'batch_items', 'batch_answers'] LOOP
        FOR step IN 0..days_ahead LOOP
            one := today + step;
            partition := parent || to_char(one, '_YYYY_MM_DD');
            CONTINUE WHEN to_regclass(partition) IS NOT NULL;
            EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE day = %L)', parent || '_default', one) INTO late;
            CONTINUE WHEN late;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', partition, parent, one, one + 1);
            changed := changed + 1;
        END LOOP;
        FOR partition IN
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = parent::regclass AND c.relname ~ '_\d{4}_\d{2}_\d{2}$'
                AND to_date(right(c.relname, 10), 'YYYY_MM_DD') < today - days_kept
        LOOP
            EXECUTE format('DROP TABLE %I', partition);
            changed := changed + 1;
        END LOOP;
    END LOOP;
    RETURN changed;
END $$;

SELECT rotate_days(3, 3650);
