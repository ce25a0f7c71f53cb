-- A request whose caller was told that it did not run is void: its hold was released before he was told, and what a worker may
-- charge for it all the same is not taken, whatever the queue has forgotten. The previous release voids nothing here, and its
-- settlements say nothing of it.

ALTER TABLE requests ADD COLUMN void boolean NOT NULL DEFAULT false;

-- `settle` as in 0003, with one more case: a request that is void is never charged.
-- End holds: capture the charge, release the rest. Each hold ends once, whoever comes first; a repeat changes nothing.
-- A charge beyond the hold is an overrun, a charge for a hold that had ended is unbilled, but one for a request that is void
-- is just not taken, and one of another amount than was taken says so. Outcomes: settled, repeated, differs, unbilled, void,
-- unknown (no such request).
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
            vendor_cost_nano bigint, tokens_input bigint, tokens_output bigint, tokens_cached bigint, tokens_reasoning bigint,
            usage_estimated boolean, finish_reason text, error_code text, error_message text, attempts integer, void boolean)
    ), ended AS (
        UPDATE requests r SET
            state = g.state, hold_state = g.hold_state, ended_at = g.ended_at,
            charged_nano = LEAST(g.charge_nano, r.hold_nano), vendor_cost_nano = g.vendor_cost_nano,
            tokens_input = g.tokens_input, tokens_output = g.tokens_output, tokens_cached = g.tokens_cached,
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
