-- The only two functions that move a hold. Both take a batch and lock the batch's accounts, in id order, in their first
-- statement; the next statement sees what concurrent batches committed while it waited. A request's key is only ever
-- touched under its account's lock. Planner settings are part of both: every look-up goes through a primary key, however
-- old the statistics of a fast-growing table are.

-- Admit what the credit allows, in the batch's order within an account: a large request that is refused does not refuse
-- the smaller one behind it. `output_limit` is what is wanted, `output_floor` the least that makes sense; what is granted
-- lies between them. `input_bound` and `output_limit` are tokens, prices nano-USD per million tokens.
CREATE FUNCTION reserve(batch jsonb, in_flight_max integer)
RETURNS TABLE (request_id text, outcome text, granted_limit integer, granted_hold bigint, needed bigint, available bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    item record;
    current_account text := '';
    credit bigint;
    room integer;
    spendable bigint;
    key_spent jsonb := '{}';
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
            input_price bigint, output_price bigint
        )) WITH ORDINALITY AS b(id, account_id, key_id, input_bound, output_limit, output_floor, input_price, output_price, position)
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
        IF room <= 0 THEN
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
            input_price, output_price, cached_price, input_bound, output_limit, hold_nano, deadline_at, expires_at, messages)
        SELECT
            b.id, b.created_at, b.account_id, b.key_id, b.model, b.upstream, b.provider, b.api, b.lane, b.stream, b.price_version,
            b.input_price, b.output_price, b.cached_price, b.input_bound, g.output_limit, g.hold_nano, b.deadline_at, b.expires_at, b.messages
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

-- Nano-USD of a sum of (tokens × nano-USD per million tokens), rounded up.
CREATE FUNCTION div_up(total bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (total + 999999) / 1000000
$$;

-- End holds: capture the charge, release the rest. Each hold ends once, whoever comes first; a repeat changes nothing.
-- A charge beyond the hold is an overrun, a charge for a hold that had ended is unbilled. Outcomes: settled, repeated,
-- unbilled, unknown (no such request).
CREATE FUNCTION settle(batch jsonb) RETURNS TABLE (request_id text, outcome text, charged bigint)
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
            vendor_cost_nano bigint, tokens_input bigint, tokens_output bigint, tokens_cached bigint, tokens_reasoning bigint,
            usage_estimated boolean, finish_reason text, error_code text, error_message text, attempts integer)
    ), ended AS (
        UPDATE requests r SET
            state = g.state, hold_state = g.hold_state, ended_at = g.ended_at,
            charged_nano = LEAST(g.charge_nano, r.hold_nano), vendor_cost_nano = g.vendor_cost_nano,
            tokens_input = g.tokens_input, tokens_output = g.tokens_output, tokens_cached = g.tokens_cached,
            tokens_reasoning = g.tokens_reasoning, usage_estimated = g.usage_estimated, finish_reason = g.finish_reason,
            error_code = g.error_code, error_message = g.error_message, attempts = g.attempts
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
        SELECT g.id, g.charge_nano, r.hold_state FROM given g
        LEFT JOIN requests r ON r.id = g.id AND r.created_at = g.created_at
        WHERE NOT EXISTS (SELECT 1 FROM ended e WHERE e.id = g.id)
    ), lost AS (
        INSERT INTO unbilled (request_id, amount_nano)
        SELECT l.id, l.charge_nano FROM late l WHERE l.charge_nano > 0 AND l.hold_state IN ('released', 'expired')
        ON CONFLICT DO NOTHING RETURNING unbilled.request_id
    )
    SELECT e.id, 'settled', e.charged_nano FROM ended e
    UNION ALL
    SELECT l.id, CASE
        WHEN l.hold_state IS NULL THEN 'unknown'
        WHEN l.id IN (SELECT lost.request_id FROM lost) THEN 'unbilled'
        ELSE 'repeated' END, 0::bigint FROM late l;
END $$;

-- Put money into a wallet, or take it back with a negative amount, never below what is held. The same reference counts
-- once: a repeat answers false and changes nothing.
CREATE FUNCTION credit(account text, amount bigint, reference text, remark text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM accounts WHERE id = account FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such account' USING ERRCODE = 'no_data_found';
    END IF;
    IF reference IS NOT NULL THEN
        INSERT INTO credit_refs (account_id, ref, amount_nano) VALUES (account, reference, amount) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END IF;
    UPDATE accounts SET balance_nano = balance_nano + amount WHERE id = account;
    INSERT INTO ledger (debit_account, credit_account, amount_nano, kind, ref, note) VALUES (
        CASE WHEN amount > 0 THEN 'house:funding' ELSE account END,
        CASE WHEN amount > 0 THEN account ELSE 'house:funding' END,
        abs(amount), CASE WHEN amount > 0 THEN 'credit' ELSE 'take_back' END, reference, remark);
    RETURN true;
END $$;
