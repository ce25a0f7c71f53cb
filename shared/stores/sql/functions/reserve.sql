-- Revision 1.

-- Nano-USD of a sum of (tokens × nano-USD per million tokens), rounded up.
CREATE OR REPLACE FUNCTION div_up(total bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (total + 999999) / 1000000
$$;

-- What the dearest model of a chain costs with `output_limit` tokens of output; each model gives at most its own limit.
CREATE OR REPLACE FUNCTION hold_of_chain(chain jsonb, output_limit bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT max(div_up((link->>'input_bound')::bigint * GREATEST((link->>'input_price')::bigint, (link->>'hold_input_price')::bigint)
        + LEAST($2, (link->>'output_limit')::bigint) * GREATEST((link->>'output_price')::bigint, (link->>'hold_output_price')::bigint)))
    FROM jsonb_array_elements(chain) link
$$;

-- The largest output limit with which every model of a chain costs at most `spendable`. Only models count that would cost more
-- with their own limit. Below 0 where even a model's input costs more; NULL where its output costs nothing, or none counts.
CREATE OR REPLACE FUNCTION limit_of_chain(chain jsonb, spendable bigint) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT min(trunc((spendable::numeric * 1000000 - of.input) / NULLIF(of.price, 0)))
    FROM jsonb_array_elements(chain) link CROSS JOIN LATERAL (
        SELECT (link->>'input_bound')::numeric * GREATEST((link->>'input_price')::bigint, (link->>'hold_input_price')::bigint) AS input,
            GREATEST((link->>'output_price')::bigint, (link->>'hold_output_price')::bigint) AS price, (link->>'output_limit')::bigint AS most
    ) of WHERE of.input + of.most * of.price > spendable::numeric * 1000000
$$;

-- The output limit of one model of a chain when `granted` tokens were granted; NULL where there is no chain.
CREATE OR REPLACE FUNCTION limit_in_chain(chain jsonb, model text, granted integer) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT LEAST(granted, (link->>'output_limit')::integer) FROM jsonb_array_elements(chain) link WHERE link->>'model' = $2 LIMIT 1
$$;

-- A chain with the output limits that were granted.
CREATE OR REPLACE FUNCTION chain_granted(chain jsonb, granted integer) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_agg(jsonb_set(link, '{output_limit}', to_jsonb(LEAST(granted, (link->>'output_limit')::integer))) ORDER BY place)
    FROM jsonb_array_elements(chain) WITH ORDINALITY AS l(link, place)
$$;

-- What a line is held for: at the prices `hold_…`, or at those of plain input and output where these are above them, or the
-- only ones; with a chain for the dearest of its models. NULL for a line that cannot be run.
CREATE OR REPLACE FUNCTION hold_of(line jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN line->'chain' IS NULL THEN
        div_up((line->>'input_bound')::bigint * GREATEST((line->>'input_price')::bigint, (line->>'hold_input_price')::bigint)
            + (line->>'output_limit')::bigint * GREATEST((line->>'output_price')::bigint, (line->>'hold_output_price')::bigint))
        ELSE hold_of_chain(line->'chain', (line->>'output_limit')::bigint) END
$$;

-- Admit what the credit allows, in the batch's order within an account: a large request that is refused does not refuse
-- the smaller one behind it. `output_limit` is what is wanted, `output_floor` the least that makes sense; what is granted
-- lies between them. `input_bound` and `output_limit` are tokens, prices nano-USD per million tokens. A request is held at
-- `hold_input_price` and `hold_output_price`, the dearest prices that can come of it, where they are above those of plain
-- input and output. A request with a chain is held for the dearest of its models, and its output limit is lowered until the
-- account can afford each of them. With an idempotency key that leads to a request nothing is admitted: it is a repeat of
-- that request, unless that one ended without success and without a charge; then the key goes over to the new one. A key
-- that comes with another body is a mismatch in any case. A refused request leaves the key as it was.
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
