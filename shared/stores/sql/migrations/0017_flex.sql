-- Requests at the service tier `flex` wait in a lane of their own, and say which tier served them.

-- A request of the lane `flex` asks for that tier, and its prices are of it. The previous release makes none and takes none from there.
ALTER TABLE requests DROP CONSTRAINT requests_lane_check;
ALTER TABLE requests ADD CONSTRAINT requests_lane_check CHECK (lane IN ('interactive', 'batch', 'flex')) NOT VALID;

-- `served_tier` is the tier at which the vendor served, as it says; `saved_nano` what the same tokens would have cost more at its
-- default tier. NULL for other requests, and where the vendor or the worker of the previous release says nothing.
ALTER TABLE requests ADD COLUMN served_tier text, ADD COLUMN saved_nano bigint;

-- The sum of it for each batch that has such lines. Not in `batches`, of which the previous release reads whole rows.
CREATE TABLE batch_savings (
    batch_id   text PRIMARY KEY REFERENCES batches ON DELETE CASCADE,
    saved_nano bigint NOT NULL CHECK (saved_nano >= 0)
) WITH (fillfactor = 50); -- hot rows: room for in-page updates

-- What vendors took more than at the tier that was sold, because they served at a dearer one: the house's loss, never the customer's.
-- `vendor_cost_nano` is all that the vendor took.
CREATE TABLE tier_losses (
    request_id       text PRIMARY KEY,
    served_tier      text NOT NULL,
    vendor_cost_nano bigint NOT NULL,
    amount_nano      bigint NOT NULL CHECK (amount_nano > 0 AND amount_nano <= vendor_cost_nano),
    created_at       timestamptz NOT NULL DEFAULT now()
);

-- `settle` as in 0015, with the tier that served and what came of it.
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
            served_tier text, saved_nano bigint, tier_loss_nano bigint)
    ), ended AS (
        UPDATE requests r SET
            state = g.state, hold_state = g.hold_state, ended_at = g.ended_at,
            charged_nano = LEAST(g.charge_nano, r.hold_nano), vendor_cost_nano = g.vendor_cost_nano,
            tokens_input = g.tokens_input, tokens_output = g.tokens_output, tokens_cached = g.tokens_cached,
            tokens_cache_written = g.tokens_cache_written, tokens_cache_written_long = g.tokens_cache_written_long,
            tokens_reasoning = g.tokens_reasoning, usage_estimated = g.usage_estimated, finish_reason = g.finish_reason,
            error_code = g.error_code, error_message = g.error_message, attempts = g.attempts,
            void = COALESCE(g.void, false), served_tier = g.served_tier, saved_nano = g.saved_nano
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

-- `count_batches` as in 0006, with what was saved.
CREATE OR REPLACE FUNCTION count_batches() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off SET jit = off AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM rows_after WHERE batch_id IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    WITH ended AS (
        SELECT a.id, a.batch_id, a.batch_number, a.batch_day, a.error_code, a.error_message, a.charged_nano, a.saved_nano,
            CASE WHEN a.state = 'succeeded' THEN 'completed' WHEN a.state = 'cancelled' THEN 'cancelled'
                WHEN a.error_code = 'expired' THEN 'expired' ELSE 'failed' END AS state
        FROM rows_after a WHERE a.batch_id IS NOT NULL AND a.ended_at IS NOT NULL
    ), items AS (
        UPDATE batch_items i SET state = e.state, error_code = e.error_code, error_message = e.error_message
        FROM ended e
        WHERE i.batch_id = e.batch_id AND i.number = e.batch_number AND i.day = e.batch_day AND i.request_id = e.id AND i.state = 'running'
        RETURNING i.batch_id, i.state, e.charged_nano, e.saved_nano
    ), sums AS (
        SELECT i.batch_id, count(*) FILTER (WHERE i.state = 'completed') AS completed, count(*) FILTER (WHERE i.state = 'failed') AS failed,
            count(*) FILTER (WHERE i.state = 'cancelled') AS cancelled, count(*) FILTER (WHERE i.state = 'expired') AS expired,
            sum(i.charged_nano)::bigint AS charged, sum(i.saved_nano)::bigint AS saved
        FROM items i GROUP BY i.batch_id
    ), savings AS (
        INSERT INTO batch_savings AS v (batch_id, saved_nano)
        SELECT s.batch_id, s.saved FROM sums s WHERE s.saved IS NOT NULL
        ON CONFLICT (batch_id) DO UPDATE SET saved_nano = v.saved_nano + EXCLUDED.saved_nano
    )
    UPDATE batches b SET
        completed = b.completed + sums.completed, failed = b.failed + sums.failed, cancelled = b.cancelled + sums.cancelled,
        expired = b.expired + sums.expired, charged_nano = b.charged_nano + sums.charged
    FROM sums WHERE b.id = sums.batch_id;
    RETURN NULL;
END $$;
