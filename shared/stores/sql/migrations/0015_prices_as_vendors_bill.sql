-- Prices as vendors bill: tokens written to a cache, and long requests, have prices of their own.

-- The `long_…` prices are those of a request with more than `long_above` tokens of input; NULL where a price has no such part, and
-- in rows of the previous release. Tokens written to a cache are a part of `tokens_input`, as those read from one are;
-- `tokens_cache_written_long` is the part of them that is kept longer. A row that a worker of the previous release has settled
-- has NULL there: it knows of no such tokens, and charges by `input_price`, `output_price` and `cached_price` alone.
ALTER TABLE requests
    ADD COLUMN cache_write_price bigint,
    ADD COLUMN cache_write_long_price bigint,
    ADD COLUMN long_above bigint,
    ADD COLUMN long_input_price bigint,
    ADD COLUMN long_output_price bigint,
    ADD COLUMN long_cached_price bigint,
    ADD COLUMN long_cache_write_price bigint,
    ADD COLUMN long_cache_write_long_price bigint,
    ADD COLUMN tokens_cache_written bigint,
    ADD COLUMN tokens_cache_written_long bigint;

ALTER TABLE usage_by_day ADD COLUMN tokens_cache_written bigint NOT NULL DEFAULT 0;

-- `reserve` as in 0006, with one more thing: it holds at `hold_input_price` and `hold_output_price`, the dearest prices that can
-- come of the request, where they are above those of plain input and output. The previous release sends none.
CREATE OR REPLACE FUNCTION reserve(batch jsonb, in_flight_max integer)
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
        SELECT b.*, GREATEST(b.input_price, b.hold_input_price) AS dearest_input,
            GREATEST(b.output_price, b.hold_output_price) AS dearest_output, a.balance_nano - a.held_nano AS account_available, a.in_flight, k.limit_nano - k.used_nano AS key_left
        FROM ROWS FROM (jsonb_to_recordset(batch) AS (
            id text, account_id text, key_id text, input_bound bigint, output_limit integer, output_floor integer,
            input_price bigint, output_price bigint, hold_input_price bigint, hold_output_price bigint,
            created_at timestamptz, keep_until timestamptz, idempotency_key text, fingerprint text
        )) WITH ORDINALITY AS b(
            id, account_id, key_id, input_bound, output_limit, output_floor,
            input_price, output_price, hold_input_price, hold_output_price, created_at, keep_until, idempotency_key, fingerprint, position)
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
        granted_hold := div_up(item.input_bound * item.dearest_input + granted_limit * item.dearest_output);
        IF granted_hold > spendable AND item.dearest_output > 0 THEN
            granted_limit := GREATEST(item.output_floor::numeric, LEAST(item.output_limit::numeric, trunc(
                (spendable::numeric * 1000000 - item.input_bound * item.dearest_input) / item.dearest_output)))::integer;
            granted_hold := div_up(item.input_bound * item.dearest_input + granted_limit * item.dearest_output);
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
            input_price, output_price, cached_price, cache_write_price, cache_write_long_price, long_above, long_input_price,
            long_output_price, long_cached_price, long_cache_write_price, long_cache_write_long_price,
            input_bound, output_limit, hold_nano, deadline_at, expires_at, messages, metadata, keep_until,
            batch_id, batch_number, batch_day)
        SELECT
            b.id, b.created_at, b.account_id, b.key_id, b.model, b.upstream, b.provider, b.api, b.lane, b.stream, b.price_version,
            b.input_price, b.output_price, b.cached_price, b.cache_write_price, b.cache_write_long_price, b.long_above, b.long_input_price,
            b.long_output_price, b.long_cached_price, b.long_cache_write_price, b.long_cache_write_long_price,
            b.input_bound, g.output_limit, g.hold_nano, b.deadline_at, b.expires_at, b.messages, b.metadata, b.keep_until,
            b.batch_id, b.batch_number, b.batch_day
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

-- What a line is held for: at the prices `hold_…`, or at those of plain input and output where these are above them, or the only
-- ones, as in lines of the previous release. NULL for a line that cannot be run.
CREATE FUNCTION hold_of(line jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT div_up((line->>'input_bound')::bigint * GREATEST((line->>'input_price')::bigint, (line->>'hold_input_price')::bigint)
        + (line->>'output_limit')::bigint * GREATEST((line->>'output_price')::bigint, (line->>'hold_output_price')::bigint))
$$;

-- `feed` as in 0011, with holds as `hold_of` says.
CREATE OR REPLACE FUNCTION feed(
    the_batch text, the_provider text, after_number integer, lines jsonb, in_flight_max integer, room_kept integer, share numeric)
RETURNS TABLE (request_id text, outcome text, granted_hold bigint, needed bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    owner record;
    one record;
    admission record;
    chosen jsonb;
    budget bigint;
    room integer;
    key_left bigint;
    total bigint := 0;
    taken integer := 0;
    failing integer := 0;
    last_number integer;
    why text := 'done';
    next_hold bigint;
BEGIN
    SELECT a.id, a.balance_nano, a.held_nano, a.in_flight INTO owner
    FROM accounts a WHERE a.id = (SELECT b.account_id FROM batches b WHERE b.id = the_batch) FOR UPDATE;
    PERFORM 1 FROM batches b JOIN batch_cursors c ON c.batch_id = b.id AND c.provider = the_provider
    WHERE b.id = the_batch AND b.state = 'in_progress' AND c.fed_to = after_number
    FOR NO KEY UPDATE OF b, c SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, 'not_now', 0::bigint, 0::bigint;
        RETURN;
    END IF;

    SELECT LEAST(owner.balance_nano - owner.held_nano, trunc(owner.balance_nano * share)::bigint - COALESCE(sum(i.hold_nano), 0)::bigint)
    INTO budget FROM batch_items i WHERE i.account_id = owner.id AND i.state = 'running';
    room := in_flight_max - room_kept - owner.in_flight;
    SELECT k.limit_nano - k.used_nano INTO key_left
    FROM api_keys k WHERE k.id = lines->0->>'key_id' AND k.limit_nano IS NOT NULL;

    FOR one IN
        SELECT (element->>'batch_number')::integer AS number, element->>'error_code' AS error_code, hold_of(element) AS hold
        FROM jsonb_array_elements(lines) WITH ORDINALITY AS e(element, position) ORDER BY position
    LOOP
        next_hold := one.hold;
        IF one.error_code IS NOT NULL THEN
            failing := failing + 1;
        ELSIF taken - failing >= room THEN
            why := 'in_flight';
        ELSIF total + one.hold > budget THEN
            why := 'credit';
        ELSIF total + one.hold > key_left THEN
            why := 'key_limit';
        END IF;
        EXIT WHEN why <> 'done';
        total := total + COALESCE(one.hold, 0);
        taken := taken + 1;
        last_number := one.number;
    END LOOP;

    IF taken > 0 THEN
        chosen := (SELECT jsonb_agg(element ORDER BY position)
            FROM jsonb_array_elements(lines) WITH ORDINALITY AS e(element, position)
            WHERE position <= taken AND element->>'error_code' IS NULL);
        FOR admission IN SELECT * FROM reserve(COALESCE(chosen, '[]'), in_flight_max) LOOP
            IF admission.outcome <> 'admitted' THEN
                RAISE EXCEPTION 'a line that was found affordable was refused: %', admission.outcome;
            END IF;
            request_id := admission.request_id;
            outcome := admission.outcome;
            granted_hold := admission.granted_hold;
            needed := admission.needed;
            RETURN NEXT;
        END LOOP;
        INSERT INTO batch_items (
            day, batch_id, number, account_id, provider, model, request_id, hold_nano, bytes, fed_at, state, error_code, error_message)
        SELECT (element->>'batch_day')::date, the_batch, (element->>'batch_number')::integer, owner.id, the_provider, element->>'model',
            element->>'id', COALESCE(hold_of(element), 0), (element->>'batch_bytes')::integer, now(),
            CASE WHEN element->>'error_code' IS NULL THEN 'running' ELSE 'failed' END, element->>'error_code', element->>'error_message'
        FROM jsonb_array_elements(lines) WITH ORDINALITY AS e(element, position) WHERE position <= taken;
        UPDATE batch_cursors c SET fed_to = last_number, left_over = c.left_over - taken
        WHERE c.batch_id = the_batch AND c.provider = the_provider;
        UPDATE batches b SET fed = b.fed + taken, failed = b.failed + failing WHERE b.id = the_batch;
    END IF;
    RETURN QUERY SELECT NULL::text, why, 0::bigint, CASE WHEN why = 'done' THEN 0 ELSE next_hold END;
END $$;

-- `settle` as in 0008, with the tokens that were written to a cache.
CREATE OR REPLACE FUNCTION settle(batch jsonb) RETURNS TABLE (request_id text, outcome text, charged bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM 1 FROM accounts a
    WHERE a.id IN (SELECT element->>'account_id' FROM jsonb_array_elements(batch) element)
    ORDER BY a.id FOR UPDATE;

    RETURN QUERY
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(batch) AS g(
            id text, created_at timestamptz, state text, hold_state text, ended_at timestamptz, charge_nano bigint,
            vendor_cost_nano bigint, tokens_input bigint, tokens_output bigint, tokens_cached bigint, tokens_cache_written bigint,
            tokens_cache_written_long bigint, tokens_reasoning bigint, usage_estimated boolean, finish_reason text, error_code text, error_message text, attempts integer, void boolean)
    ), ended AS (
        UPDATE requests r SET
            state = g.state, hold_state = g.hold_state, ended_at = g.ended_at,
            charged_nano = LEAST(g.charge_nano, r.hold_nano), vendor_cost_nano = g.vendor_cost_nano,
            tokens_input = g.tokens_input, tokens_output = g.tokens_output, tokens_cached = g.tokens_cached,
            tokens_cache_written = g.tokens_cache_written, tokens_cache_written_long = g.tokens_cache_written_long,
            tokens_reasoning = g.tokens_reasoning, usage_estimated = g.usage_estimated, finish_reason = g.finish_reason,
            error_code = g.error_code, error_message = g.error_message, attempts = g.attempts,
            void = COALESCE(g.void, false)
        FROM given g
        WHERE r.id = g.id AND r.created_at = g.created_at AND r.hold_state = 'held'
        RETURNING r.id, r.account_id, r.key_id, r.hold_nano, r.charged_nano, g.charge_nano
    ), captured AS (
        INSERT INTO ledger (debit_account, credit_account, amount_nano, kind, request_id)
        SELECT e.account_id, 'house:revenue', e.charged_nano, 'capture', e.id FROM ended e WHERE e.charged_nano > 0
    ), overrun AS (
        INSERT INTO overruns (request_id, amount_nano)
        SELECT e.id, e.charge_nano - e.hold_nano FROM ended e WHERE e.charge_nano > e.hold_nano
    ), accounts_changed AS (
        UPDATE accounts a SET
            balance_nano = a.balance_nano - sums.charged, held_nano = a.held_nano - sums.hold, in_flight = a.in_flight - sums.n
        FROM (
            SELECT e.account_id, sum(e.charged_nano)::bigint AS charged, sum(e.hold_nano)::bigint AS hold, count(*)::integer AS n
            FROM ended e GROUP BY e.account_id
        ) sums WHERE a.id = sums.account_id
    ), keys_changed AS (
        UPDATE api_keys k SET used_nano = k.used_nano - sums.unused
        FROM (
            SELECT e.key_id, sum(e.hold_nano - e.charged_nano)::bigint AS unused FROM ended e GROUP BY e.key_id
        ) sums WHERE k.id = sums.key_id AND k.limit_nano IS NOT NULL
    ), late AS (
        SELECT g.id, g.charge_nano, r.hold_state, r.void,
            g.hold_state = 'settled' AND r.hold_state = 'settled' AND LEAST(g.charge_nano, r.hold_nano) <> r.charged_nano AS differs
        FROM given g
        LEFT JOIN requests r ON r.id = g.id AND r.created_at = g.created_at
        WHERE NOT EXISTS (SELECT 1 FROM ended e WHERE e.id = g.id)
    ), lost AS (
        INSERT INTO unbilled (request_id, amount_nano)
        SELECT l.id, l.charge_nano FROM late l WHERE l.charge_nano > 0 AND l.hold_state IN ('released', 'expired') AND NOT l.void
        ON CONFLICT DO NOTHING RETURNING unbilled.request_id
    )
    SELECT e.id, 'settled', e.charged_nano FROM ended e
    UNION ALL
    SELECT l.id, CASE
        WHEN l.hold_state IS NULL THEN 'unknown'
        WHEN l.void AND l.charge_nano > 0 THEN 'void'
        WHEN l.id IN (SELECT lost.request_id FROM lost) THEN 'unbilled'
        WHEN l.differs THEN 'differs'
        ELSE 'repeated' END, 0::bigint FROM late l;
END $$;

-- `roll_up_usage` as in 0004, with the tokens that were written to a cache.
CREATE OR REPLACE FUNCTION roll_up_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_by_day AS u (
        account_id, day, model, key_id, requests, failed, tokens_input, tokens_output, tokens_cached, tokens_cache_written,
        tokens_reasoning, charged_nano)
    SELECT c.account_id, (c.created_at AT TIME ZONE 'UTC')::date, c.model, c.key_id,
        sum(c.n), COALESCE(sum(c.n) FILTER (WHERE c.state <> 'succeeded'), 0),
        COALESCE(sum(c.n * c.tokens_input), 0), COALESCE(sum(c.n * c.tokens_output), 0), COALESCE(sum(c.n * c.tokens_cached), 0),
        COALESCE(sum(c.n * c.tokens_cache_written), 0), COALESCE(sum(c.n * c.tokens_reasoning), 0), sum(c.n * c.charged_nano)
    FROM (
        SELECT 1 AS n, account_id, created_at, model, key_id, state,
            tokens_input, tokens_output, tokens_cached, tokens_cache_written, tokens_reasoning, charged_nano
        FROM rows_after WHERE ended_at IS NOT NULL
        UNION ALL
        SELECT -1, account_id, created_at, model, key_id, state,
            tokens_input, tokens_output, tokens_cached, tokens_cache_written, tokens_reasoning, charged_nano
        FROM rows_before WHERE ended_at IS NOT NULL
    ) c GROUP BY 1, 2, 3, 4
    ON CONFLICT (account_id, day, model, key_id) DO UPDATE SET
        requests = u.requests + EXCLUDED.requests, failed = u.failed + EXCLUDED.failed,
        tokens_input = u.tokens_input + EXCLUDED.tokens_input, tokens_output = u.tokens_output + EXCLUDED.tokens_output,
        tokens_cached = u.tokens_cached + EXCLUDED.tokens_cached,
        tokens_cache_written = u.tokens_cache_written + EXCLUDED.tokens_cache_written, tokens_reasoning = u.tokens_reasoning + EXCLUDED.tokens_reasoning,
        charged_nano = u.charged_nano + EXCLUDED.charged_nano;
    RETURN NULL;
END $$;
