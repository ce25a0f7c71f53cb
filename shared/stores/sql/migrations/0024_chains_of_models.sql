-- A request may name other models to fall back on: a chain. It is held once, for the dearest of them, and charged at the price of the
-- one that served it.

-- `chain` is what was promised when the request was admitted: of each model, the one asked for first, what its columns of this
-- table would be, with the dearest prices that can come of it (`hold_…`). NULL where no other model was named, and in rows of the
-- previous release. `tried` is what became of each model that was tried: {"model", "code", "calls"}.
ALTER TABLE requests ADD COLUMN chain jsonb, ADD COLUMN tried jsonb;

-- What the dearest model of a chain holds with an output of so many tokens, of which each takes its own limit at most.
CREATE FUNCTION hold_of_chain(chain jsonb, output_limit bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT max(div_up((link->>'input_bound')::bigint * GREATEST((link->>'input_price')::bigint, (link->>'hold_input_price')::bigint)
        + LEAST($2, (link->>'output_limit')::bigint) * GREATEST((link->>'output_price')::bigint, (link->>'hold_output_price')::bigint)))
    FROM jsonb_array_elements(chain) link
$$;

-- The largest output for which every model of a chain costs no more than so much, which one of them does with its own limit. Less than 0
-- where even its input costs more; NULL where its output costs nothing.
CREATE FUNCTION limit_of_chain(chain jsonb, spendable bigint) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT min(trunc((spendable::numeric * 1000000 - of.input) / NULLIF(of.price, 0)))
    FROM jsonb_array_elements(chain) link CROSS JOIN LATERAL (
        SELECT (link->>'input_bound')::numeric * GREATEST((link->>'input_price')::bigint, (link->>'hold_input_price')::bigint) AS input,
            GREATEST((link->>'output_price')::bigint, (link->>'hold_output_price')::bigint) AS price, (link->>'output_limit')::bigint AS most
    ) of WHERE of.input + of.most * of.price > spendable::numeric * 1000000
$$;

-- The output limit of one model of a chain, when so many tokens were granted; NULL where there is no chain.
CREATE FUNCTION limit_in_chain(chain jsonb, model text, granted integer) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT LEAST(granted, (link->>'output_limit')::integer) FROM jsonb_array_elements(chain) link WHERE link->>'model' = $2 LIMIT 1
$$;

-- A chain with the output limits that were granted.
CREATE FUNCTION chain_granted(chain jsonb, granted integer) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_agg(jsonb_set(link, '{output_limit}', to_jsonb(LEAST(granted, (link->>'output_limit')::integer))) ORDER BY place)
    FROM jsonb_array_elements(chain) WITH ORDINALITY AS l(link, place)
$$;

-- `reserve` as in 0015, with one more thing: a request with a chain is held for the dearest of its models, and its output limit is
-- lowered until the account can afford each of them.
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
            created_at timestamptz, keep_until timestamptz, idempotency_key text, fingerprint text, chain jsonb
        )) WITH ORDINALITY AS b(
            id, account_id, key_id, input_bound, output_limit, output_floor,
            input_price, output_price, hold_input_price, hold_output_price, created_at, keep_until, idempotency_key, fingerprint, chain, position)
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
        IF item.chain IS NULL THEN
            granted_hold := div_up(item.input_bound * item.dearest_input + granted_limit * item.dearest_output);
            IF granted_hold > spendable AND item.dearest_output > 0 THEN
                granted_limit := GREATEST(item.output_floor::numeric, LEAST(item.output_limit::numeric, trunc(
                    (spendable::numeric * 1000000 - item.input_bound * item.dearest_input) / item.dearest_output)))::integer;
                granted_hold := div_up(item.input_bound * item.dearest_input + granted_limit * item.dearest_output);
            END IF;
        ELSE
            granted_hold := hold_of_chain(item.chain, granted_limit);
            IF granted_hold > spendable THEN
                granted_limit := GREATEST(item.output_floor, LEAST(item.output_limit, limit_of_chain(item.chain, spendable)))::integer;
                granted_hold := hold_of_chain(item.chain, granted_limit);
            END IF;
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
            batch_id, batch_number, batch_day, chain)
        SELECT
            b.id, b.created_at, b.account_id, b.key_id, b.model, b.upstream, b.provider, b.api, b.lane, b.stream, b.price_version,
            b.input_price, b.output_price, b.cached_price, b.cache_write_price, b.cache_write_long_price, b.long_above, b.long_input_price,
            b.long_output_price, b.long_cached_price, b.long_cache_write_price, b.long_cache_write_long_price,
            b.input_bound, COALESCE(limit_in_chain(b.chain, b.model, g.output_limit), g.output_limit), g.hold_nano, b.deadline_at, b.expires_at, b.messages, b.metadata, b.keep_until,
            b.batch_id, b.batch_number, b.batch_day, chain_granted(b.chain, g.output_limit)
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

-- `hold_of` as in 0015, for lines with a chain, too.
CREATE OR REPLACE FUNCTION hold_of(line jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN line->'chain' IS NULL THEN
        div_up((line->>'input_bound')::bigint * GREATEST((line->>'input_price')::bigint, (line->>'hold_input_price')::bigint)
            + (line->>'output_limit')::bigint * GREATEST((line->>'output_price')::bigint, (line->>'hold_output_price')::bigint))
        ELSE hold_of_chain(line->'chain', (line->>'output_limit')::bigint) END
$$;

-- `settle` for requests with a chain, too: the row of each becomes that of the model that served it, or was the last one to be tried, at
-- the price that was promised for it; then all are settled.
CREATE FUNCTION settle_served(batch jsonb) RETURNS TABLE (request_id text, outcome text, charged bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off SET jit = off AS $$
BEGIN
    IF jsonb_path_exists(batch, '$[*].served ? (@ != null)') THEN
        PERFORM 1 FROM accounts a
        WHERE a.id IN (SELECT element->>'account_id' FROM jsonb_array_elements(batch) element)
        ORDER BY a.id FOR UPDATE;

        UPDATE requests r SET
            model = s.model, upstream = s.upstream, provider = s.provider, api = s.api, price_version = s.price_version,
            input_price = s.input_price, output_price = s.output_price, cached_price = s.cached_price,
            cache_write_price = s.cache_write_price, cache_write_long_price = s.cache_write_long_price, long_above = s.long_above,
            long_input_price = s.long_input_price, long_output_price = s.long_output_price, long_cached_price = s.long_cached_price,
            long_cache_write_price = s.long_cache_write_price, long_cache_write_long_price = s.long_cache_write_long_price,
            input_bound = s.input_bound, output_limit = s.output_limit, tried = s.what_was_tried
        FROM (
            SELECT g.id AS of_id, g.created_at AS of_moment, g.tried AS what_was_tried, p.*
            FROM jsonb_to_recordset(batch) AS g(id text, created_at timestamptz, served text, tried jsonb)
            JOIN requests q ON q.id = g.id AND q.created_at = g.created_at
            CROSS JOIN LATERAL (SELECT e FROM jsonb_array_elements(q.chain) e WHERE e->>'model' = g.served LIMIT 1) l
            CROSS JOIN LATERAL jsonb_populate_record(NULL::requests, l.e) p
            WHERE g.served IS NOT NULL
        ) s WHERE r.id = s.of_id AND r.created_at = s.of_moment AND r.hold_state = 'held';
    END IF;
    RETURN QUERY SELECT s.request_id, s.outcome, s.charged FROM settle(batch) s;
END $$;
