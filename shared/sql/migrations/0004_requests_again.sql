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

-- `reserve` once more, as 0003 explains it.

DROP FUNCTION reserve(jsonb, integer);

-- Admit what the credit allows, in the batch's order within an account: a large request that is refused does not refuse
-- the smaller one behind it. `output_limit` is what is wanted, `output_floor` the least that makes sense; what is granted
-- lies between them. `input_bound` and `output_limit` are tokens, prices nano-USD per million tokens. With an idempotency
-- key that leads to a request, nothing is admitted: it is a repeat of that request, unless that one ended without success and
-- without a charge; then the key goes over to the new one. A key that comes with another body is a mismatch in any case. What
-- is refused leaves the key as it was.
CREATE FUNCTION reserve(batch jsonb, in_flight_max integer)
RETURNS TABLE (request_id text, outcome text, granted_limit integer, granted_hold bigint, needed bigint, available bigint, existing_id text)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    item record;
    current_account text := '';
    credit bigint;
    room integer;
    spendable bigint;
    key_spent jsonb := '{}';
    same_body boolean;
    over_uncharged boolean;
    admitted_ids text[] := '{}';
    admitted_limits integer[] := '{}';
    admitted_holds bigint[] := '{}';
BEGIN
    PERFORM 1 FROM accounts a
    WHERE a.id IN (SELECT element->>'account_id' FROM jsonb_array_elements(batch) element)
    ORDER BY a.id FOR UPDATE;

    FOR item IN
        SELECT b.*, a.balance_nano - a.held_nano AS account_available, a.in_flight, k.limit_nano - k.used_nano AS key_left
        FROM ROWS FROM (jsonb_to_recordset(batch) AS (
            id text, account_id text, key_id text, input_bound bigint, output_limit integer, output_floor integer,
            input_price bigint, output_price bigint, created_at timestamptz, keep_until timestamptz, idempotency_key text, fingerprint text
        )) WITH ORDINALITY AS b(
            id, account_id, key_id, input_bound, output_limit, output_floor,
            input_price, output_price, created_at, keep_until, idempotency_key, fingerprint, position)
        JOIN accounts a ON a.id = b.account_id
        LEFT JOIN api_keys k ON k.id = b.key_id AND k.limit_nano IS NOT NULL
        ORDER BY b.account_id, b.position
    LOOP
        IF item.account_id <> current_account THEN
            current_account := item.account_id;
            credit := item.account_available;
            room := in_flight_max - item.in_flight;
        END IF;
        spendable := LEAST(credit, item.key_left - COALESCE((key_spent->>item.key_id)::bigint, 0)); -- LEAST skips NULL
        request_id := item.id;
        available := credit;
        granted_limit := item.output_limit;
        granted_hold := div_up(item.input_bound * item.input_price + granted_limit * item.output_price);
        IF granted_hold > spendable AND item.output_price > 0 THEN
            granted_limit := GREATEST(item.output_floor::numeric, LEAST(item.output_limit::numeric, trunc(
                (spendable::numeric * 1000000 - item.input_bound * item.input_price) / item.output_price)))::integer;
            granted_hold := div_up(item.input_bound * item.input_price + granted_limit * item.output_price);
        END IF;
        needed := granted_hold;
        existing_id := NULL;
        IF item.idempotency_key IS NOT NULL THEN
            SELECT i.request_id, i.fingerprint = decode(item.fingerprint, 'base64'),
                COALESCE(r.state IN ('failed', 'cancelled') AND r.charged_nano = 0, false)
            INTO existing_id, same_body, over_uncharged
            FROM idempotency_keys i LEFT JOIN requests r ON r.id = i.request_id AND r.created_at = i.request_created_at
            WHERE i.account_id = item.account_id AND i.key = decode(item.idempotency_key, 'base64') AND i.keep_until > now();
        END IF;
        IF existing_id IS NOT NULL AND same_body IS NOT TRUE THEN
            outcome := 'mismatch';
        ELSIF existing_id IS NOT NULL AND NOT over_uncharged THEN
            outcome := 'repeat';
        ELSIF room <= 0 THEN
            outcome := 'in_flight';
        ELSIF granted_hold > credit THEN
            outcome := 'credit';
        ELSIF granted_hold > spendable THEN
            outcome := 'key_limit';
        ELSE
            outcome := 'admitted';
            credit := credit - granted_hold;
            room := room - 1;
            admitted_ids := admitted_ids || item.id;
            admitted_limits := admitted_limits || granted_limit;
            admitted_holds := admitted_holds || granted_hold;
            IF item.idempotency_key IS NOT NULL THEN
                INSERT INTO idempotency_keys (account_id, key, fingerprint, request_id, request_created_at, keep_until)
                VALUES (item.account_id, decode(item.idempotency_key, 'base64'), decode(item.fingerprint, 'base64'),
                    item.id, item.created_at, item.keep_until)
                ON CONFLICT (account_id, key) DO UPDATE SET
                    fingerprint = EXCLUDED.fingerprint, request_id = EXCLUDED.request_id,
                    request_created_at = EXCLUDED.request_created_at, keep_until = EXCLUDED.keep_until;
            END IF;
            IF item.key_left IS NOT NULL THEN
                key_spent := key_spent || jsonb_build_object(
                    item.key_id, granted_hold + COALESCE((key_spent->>item.key_id)::bigint, 0));
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;

    WITH granted AS (
        SELECT * FROM unnest(admitted_ids, admitted_limits, admitted_holds) AS g(id, output_limit, hold_nano)
    ), logged AS (
        INSERT INTO requests (
            id, created_at, account_id, key_id, model, upstream, provider, api, lane, stream, price_version,
            input_price, output_price, cached_price, input_bound, output_limit, hold_nano, deadline_at, expires_at, messages, metadata, keep_until)
        SELECT
            b.id, b.created_at, b.account_id, b.key_id, b.model, b.upstream, b.provider, b.api, b.lane, b.stream, b.price_version,
            b.input_price, b.output_price, b.cached_price, b.input_bound, g.output_limit, g.hold_nano, b.deadline_at, b.expires_at, b.messages, b.metadata, b.keep_until
        FROM jsonb_populate_recordset(NULL::requests, batch) b JOIN granted g ON g.id = b.id
        RETURNING account_id, key_id, hold_nano
    ), keys_used AS (
        UPDATE api_keys k SET used_nano = k.used_nano + (spent.amount)::bigint
        FROM jsonb_each_text(key_spent) AS spent(key_id, amount) WHERE k.id = spent.key_id
    )
    UPDATE accounts a SET held_nano = a.held_nano + sums.hold_nano, in_flight = a.in_flight + sums.n
    FROM (SELECT account_id, sum(hold_nano)::bigint AS hold_nano, count(*)::integer AS n FROM logged GROUP BY account_id) sums
    WHERE a.id = sums.account_id;
END $$;
