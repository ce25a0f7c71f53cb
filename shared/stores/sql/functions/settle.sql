-- Revision 1.

-- End holds: capture the charge, release the rest. Each hold ends once, whoever comes first; a repeat changes nothing.
-- A charge beyond the hold is an overrun, a charge for a hold that had ended is unbilled, but one for a request that is void
-- is just not taken, and one of another amount than was taken says so. Calls to vendors that nobody pays for are written
-- down once. Outcomes: settled, repeated, differs, unbilled, void, unknown (no such request).
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
            tokens_cache_written_long bigint, tokens_reasoning bigint, usage_estimated boolean, finish_reason text, error_code text, error_message text, attempts integer, void boolean,
            served_tier text, saved_nano bigint, tier_loss_nano bigint, upstream text, lost_calls jsonb)
    ), ended AS (
        UPDATE requests r SET
            state = g.state, hold_state = g.hold_state, ended_at = g.ended_at,
            charged_nano = LEAST(g.charge_nano, r.hold_nano), vendor_cost_nano = g.vendor_cost_nano,
            tokens_input = g.tokens_input, tokens_output = g.tokens_output, tokens_cached = g.tokens_cached,
            tokens_cache_written = g.tokens_cache_written, tokens_cache_written_long = g.tokens_cache_written_long,
            tokens_reasoning = g.tokens_reasoning, usage_estimated = g.usage_estimated, finish_reason = g.finish_reason,
            error_code = g.error_code, error_message = g.error_message, attempts = g.attempts,
            void = COALESCE(g.void, false), served_tier = g.served_tier, saved_nano = g.saved_nano,
            upstream_name = g.upstream
        FROM given g
        WHERE r.id = g.id AND r.created_at = g.created_at AND r.hold_state = 'held'
        RETURNING r.id, r.account_id, r.key_id, r.hold_nano, r.charged_nano, g.charge_nano, g.served_tier, g.vendor_cost_nano, g.tier_loss_nano
    ), captured AS (
        INSERT INTO ledger (debit_account, credit_account, amount_nano, kind, request_id)
        SELECT e.account_id, 'house:revenue', e.charged_nano, 'capture', e.id FROM ended e WHERE e.charged_nano > 0
    ), overrun AS (
        INSERT INTO overruns (request_id, amount_nano)
        SELECT e.id, e.charge_nano - e.hold_nano FROM ended e WHERE e.charge_nano > e.hold_nano
    ), dearer AS (
        INSERT INTO tier_losses (request_id, served_tier, vendor_cost_nano, amount_nano)
        SELECT e.id, e.served_tier, e.vendor_cost_nano, e.tier_loss_nano FROM ended e WHERE e.tier_loss_nano > 0
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
        SELECT g.id, g.charge_nano, r.hold_state, r.void, r.model, g.attempts, g.upstream, g.vendor_cost_nano, g.usage_estimated, g.lost_calls,
            r.hold_state IN ('released', 'expired') AND r.upstream_name IS NULL AS ended_without_us,
            g.hold_state = 'settled' AND r.hold_state = 'settled' AND LEAST(g.charge_nano, r.hold_nano) <> r.charged_nano AS differs
        FROM given g
        LEFT JOIN requests r ON r.id = g.id AND r.created_at = g.created_at
        WHERE NOT EXISTS (SELECT 1 FROM ended e WHERE e.id = g.id)
    ), lost AS (
        INSERT INTO unbilled (request_id, amount_nano)
        SELECT l.id, l.charge_nano FROM late l WHERE l.charge_nano > 0 AND l.hold_state IN ('released', 'expired') AND NOT l.void
        ON CONFLICT DO NOTHING RETURNING unbilled.request_id
    ), paid_for_nothing AS (
        INSERT INTO lost_calls (request_id, number, upstream, model, reason, vendor_cost_nano, estimated)
        SELECT g.id, c.number, c.upstream, c.model, c.reason, c.cost_nano, c.estimated
        FROM given g CROSS JOIN LATERAL jsonb_to_recordset(g.lost_calls)
            AS c(number integer, upstream text, model text, reason text, cost_nano bigint, estimated boolean)
        WHERE g.lost_calls IS NOT NULL AND EXISTS (SELECT FROM requests r WHERE r.id = g.id AND r.created_at = g.created_at)
        UNION ALL
        SELECT l.id, l.attempts, l.upstream, l.model, 'ended_before', l.vendor_cost_nano, COALESCE(l.usage_estimated, true)
        FROM late l WHERE l.ended_without_us AND l.vendor_cost_nano > 0
        ON CONFLICT DO NOTHING
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

-- `settle` for requests with a chain, too: the row of each first becomes that of the model that served it, or was the last one
-- to be tried, at the price that was promised for it.
CREATE OR REPLACE FUNCTION settle_served(batch jsonb) RETURNS TABLE (request_id text, outcome text, charged bigint)
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
