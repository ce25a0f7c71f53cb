-- Revision 1.

-- Trigger of `requests`: usage by day adds what an ended row says and takes away what the row said before, so that a repair
-- by hand counts, too. It is a trigger and no part of `settle`, because settlements of a previous release, which have its
-- `settle`, count as well.
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
