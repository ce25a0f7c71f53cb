-- Requests that can be asked for again: idempotency keys, answers that are kept, what a caller noted on a request, and usage
-- rolled up by day.

ALTER TABLE requests
    ADD COLUMN metadata jsonb,
    ADD COLUMN keep_until timestamptz; -- set when the caller may come back for the answer: until when it is kept

-- Both key and fingerprint are SHA-256. A key leads to one request until `keep_until`; it may go over to a new one when that
-- request ended uncharged.
CREATE TABLE idempotency_keys (
    account_id         text NOT NULL REFERENCES accounts,
    key                bytea NOT NULL CHECK (length(key) = 32),
    fingerprint        bytea NOT NULL CHECK (length(fingerprint) = 32),
    request_id         text NOT NULL,
    request_created_at timestamptz NOT NULL,
    keep_until         timestamptz NOT NULL,
    PRIMARY KEY (account_id, key)
);
CREATE INDEX idempotency_keys_by_end ON idempotency_keys (keep_until);

-- Answers of requests whose callers may come back for them, as a worker packed them.
CREATE TABLE answers (
    request_id text PRIMARY KEY,
    answer     bytea NOT NULL,
    keep_until timestamptz NOT NULL
);
CREATE INDEX answers_by_end ON answers (keep_until);

-- What ended, by the day (UTC) on which it was asked: exact at every moment.
CREATE TABLE usage_by_day (
    account_id       text NOT NULL REFERENCES accounts,
    day              date NOT NULL,
    model            text NOT NULL,
    key_id           text NOT NULL,
    requests         bigint NOT NULL,
    failed           bigint NOT NULL, -- of these: failed or cancelled
    tokens_input     bigint NOT NULL,
    tokens_output    bigint NOT NULL,
    tokens_cached    bigint NOT NULL,
    tokens_reasoning bigint NOT NULL,
    charged_nano     bigint NOT NULL,
    PRIMARY KEY (account_id, day, model, key_id)
) WITH (fillfactor = 50); -- hot rows: room for in-page updates

INSERT INTO usage_by_day
SELECT account_id, (created_at AT TIME ZONE 'UTC')::date, model, key_id, count(*), count(*) FILTER (WHERE state <> 'succeeded'),
    COALESCE(sum(tokens_input), 0), COALESCE(sum(tokens_output), 0), COALESCE(sum(tokens_cached), 0),
    COALESCE(sum(tokens_reasoning), 0), sum(charged_nano)
FROM requests WHERE ended_at IS NOT NULL GROUP BY 1, 2, 3, 4;

-- A trigger, not a part of `settle`: the previous release's settlements that waited for this migration go on with the body of
-- `settle` that they began with. It adds what an ended row says and takes away what the row said before, so that a repair by
-- hand counts too.
CREATE FUNCTION roll_up_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_by_day AS u (
        account_id, day, model, key_id, requests, failed, tokens_input, tokens_output, tokens_cached, tokens_reasoning, charged_nano)
    SELECT c.account_id, (c.created_at AT TIME ZONE 'UTC')::date, c.model, c.key_id,
        sum(c.n), COALESCE(sum(c.n) FILTER (WHERE c.state <> 'succeeded'), 0),
        COALESCE(sum(c.n * c.tokens_input), 0), COALESCE(sum(c.n * c.tokens_output), 0), COALESCE(sum(c.n * c.tokens_cached), 0),
        COALESCE(sum(c.n * c.tokens_reasoning), 0), sum(c.n * c.charged_nano)
    FROM (
        SELECT 1 AS n, account_id, created_at, model, key_id, state,
            tokens_input, tokens_output, tokens_cached, tokens_reasoning, charged_nano
        FROM rows_after WHERE ended_at IS NOT NULL
        UNION ALL
        SELECT -1, account_id, created_at, model, key_id, state,
            tokens_input, tokens_output, tokens_cached, tokens_reasoning, charged_nano
        FROM rows_before WHERE ended_at IS NOT NULL
    ) c GROUP BY 1, 2, 3, 4
    ON CONFLICT (account_id, day, model, key_id) DO UPDATE SET
        requests = u.requests + EXCLUDED.requests, failed = u.failed + EXCLUDED.failed,
        tokens_input = u.tokens_input + EXCLUDED.tokens_input, tokens_output = u.tokens_output + EXCLUDED.tokens_output,
        tokens_cached = u.tokens_cached + EXCLUDED.tokens_cached, tokens_reasoning = u.tokens_reasoning + EXCLUDED.tokens_reasoning,
        charged_nano = u.charged_nano + EXCLUDED.charged_nano;
    RETURN NULL;
END $$;

CREATE TRIGGER requests_rolled_up AFTER UPDATE ON requests REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after
FOR EACH STATEMENT EXECUTE FUNCTION roll_up_usage();
