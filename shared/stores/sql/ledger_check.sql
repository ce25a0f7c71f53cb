-- Each query returns the violations of one rule, as `subject` and `detail`. All queries run on one snapshot.

-- name: balance_is_sum_of_entries
SELECT a.id AS subject, format('balance %s, entries %s', a.balance_nano, COALESCE(e.total, 0)) AS detail
FROM accounts a
FULL JOIN (
    SELECT account, sum(amount) AS total FROM (
        SELECT credit_account AS account, amount_nano AS amount FROM ledger
        UNION ALL
        SELECT debit_account, -amount_nano FROM ledger
    ) entries WHERE account NOT LIKE 'house:%' GROUP BY account
) e ON e.account = a.id
WHERE a.id IS NULL OR a.balance_nano <> COALESCE(e.total, 0)

-- name: held_is_sum_of_pending_holds
SELECT COALESCE(a.id, h.account_id) AS subject,
    format('held %s in %s requests, holds %s in %s', a.held_nano, a.in_flight, COALESCE(h.total, 0), COALESCE(h.n, 0)) AS detail
FROM accounts a
FULL JOIN (
    SELECT account_id, sum(hold_nano) AS total, count(*) AS n FROM requests WHERE hold_state = 'held' GROUP BY account_id
) h ON h.account_id = a.id
WHERE a.id IS NULL OR a.held_nano <> COALESCE(h.total, 0) OR a.in_flight <> COALESCE(h.n, 0)

-- name: one_capture_per_charged_request
SELECT COALESCE(r.id, l.request_id) AS subject, format('charged %s, captured %s in %s', r.charged_nano, l.total, COALESCE(l.n, 0)) AS detail
FROM (SELECT id, account_id, charged_nano FROM requests WHERE charged_nano > 0) r
FULL JOIN (
    SELECT request_id, min(debit_account) AS debit_account, sum(amount_nano) AS total, count(*) AS n
    FROM ledger WHERE kind = 'capture' GROUP BY request_id
) l ON l.request_id = r.id
WHERE r.id IS NULL OR l.n IS DISTINCT FROM 1 OR l.total <> r.charged_nano OR l.debit_account <> r.account_id

-- name: no_hold_outlives_its_time
SELECT id AS subject, format('held since %s, should have ended by %s', created_at, expires_at) AS detail
FROM requests WHERE ended_at IS NULL AND expires_at < now() - make_interval(secs => $1)

-- name: request_ids_are_unique
SELECT id AS subject, format('%s rows', count(*)) AS detail FROM requests GROUP BY id HAVING count(*) > 1

-- name: limited_keys_count_what_they_used
SELECT k.id AS subject, format('used %s, requests %s', k.used_nano, COALESCE(r.total, 0)) AS detail
FROM api_keys k
LEFT JOIN (
    SELECT key_id, sum(charged_nano + CASE WHEN hold_state = 'held' THEN hold_nano ELSE 0 END) AS total
    FROM requests GROUP BY key_id
) r ON r.key_id = k.id
WHERE k.limit_nano IS NOT NULL AND k.used_nano <> COALESCE(r.total, 0)

-- name: usage_is_sum_of_ended_requests
SELECT format('%s on %s with %s by %s', account_id, day, model, key_id) AS subject,
    format('rolled up %s, requests %s', COALESCE(u.sums, 'nothing'), COALESCE(r.sums, 'none')) AS detail
FROM (
    SELECT account_id, day, model, key_id, format('%s (%s failed), tokens %s %s %s %s %s, charged %s',
        requests, failed, tokens_input, tokens_output, tokens_cached, tokens_cache_written, tokens_reasoning, charged_nano) AS sums
    FROM usage_by_day
) u FULL JOIN (
    SELECT account_id, (created_at AT TIME ZONE 'UTC')::date AS day, model, key_id, format('%s (%s failed), tokens %s %s %s %s %s, charged %s',
        count(*), count(*) FILTER (WHERE state <> 'succeeded'), COALESCE(sum(tokens_input), 0), COALESCE(sum(tokens_output), 0),
        COALESCE(sum(tokens_cached), 0), COALESCE(sum(tokens_cache_written), 0), COALESCE(sum(tokens_reasoning), 0),
        sum(charged_nano)) AS sums
    FROM requests WHERE ended_at IS NOT NULL GROUP BY 1, 2, 3, 4
) r USING (account_id, day, model, key_id)
WHERE u.sums IS DISTINCT FROM r.sums

-- name: charges_are_prices_times_tokens
-- A row without `tokens_cache_written` was settled by the previous release, which charges by the first three prices only. If
-- its row has more prices, that release may have settled a record that a worker of this release left, and lost the number of
-- written tokens: then the charge may be higher than the row explains, within the hold.
SELECT id AS subject, format('charged %s, its tokens cost %s, held %s', charged_nano, cost, hold_nano) AS detail
FROM (
    SELECT r.id, r.charged_nano, r.hold_nano,
        r.tokens_cache_written IS NULL AND num_nonnulls(r.cache_write_price, r.cache_write_long_price, r.long_above) > 0 AS may_be_more,
        div(999999
        + (t.input - t.cached - t.written) * p.input + t.cached * COALESCE(p.cached, p.input)
        + (t.written - t.written_long) * COALESCE(p.cache_write, p.input)
        + t.written_long * COALESCE(p.cache_write_long, p.cache_write, p.input)
        + t.output * p.output, 1000000) AS cost
    FROM requests r
    CROSS JOIN LATERAL (
        SELECT COALESCE(r.tokens_input, 0)::numeric AS input, COALESCE(r.tokens_output, 0)::numeric AS output,
            COALESCE(r.tokens_cached, 0)::numeric AS cached, COALESCE(r.tokens_cache_written, 0)::numeric AS written,
            COALESCE(r.tokens_cache_written_long, 0)::numeric AS written_long,
            r.tokens_cache_written IS NOT NULL AND r.tokens_input > r.long_above AS are_many
    ) t
    CROSS JOIN LATERAL (
        SELECT CASE WHEN t.are_many THEN r.long_input_price ELSE r.input_price END AS input,
            CASE WHEN t.are_many THEN r.long_output_price ELSE r.output_price END AS output,
            CASE WHEN t.are_many THEN r.long_cached_price ELSE r.cached_price END AS cached,
            CASE WHEN t.are_many THEN r.long_cache_write_price ELSE r.cache_write_price END AS cache_write,
            CASE WHEN t.are_many THEN r.long_cache_write_long_price ELSE r.cache_write_long_price END AS cache_write_long
    ) p
    WHERE r.hold_state = 'settled'
) settled WHERE cost IS NULL OR charged_nano < LEAST(cost, hold_nano) OR charged_nano > LEAST(cost, hold_nano) AND NOT may_be_more

-- name: chains_are_held_for_their_dearest
-- Also: the row of a request with a chain names one of the chain's models and has the prices that were promised for it.
SELECT id AS subject, format('held %s, its chain needs %s; its model is %s at %s', hold_nano, hold_of_chain(chain, 2147483647), model, price_version) AS detail
FROM requests r WHERE chain IS NOT NULL AND (hold_nano <> hold_of_chain(chain, 2147483647) OR NOT EXISTS (
    SELECT FROM jsonb_array_elements(chain) link CROSS JOIN LATERAL jsonb_populate_record(NULL::requests, link) p
    WHERE (p.model, p.provider, p.price_version, p.input_price, p.output_price, p.output_limit)
        = (r.model, r.provider, r.price_version, r.input_price, r.output_price, r.output_limit)))

-- name: batches_count_their_items
SELECT b.id AS subject,
    format('fed %s, completed %s, failed %s, cancelled %s, expired %s, charged %s; items %s', b.fed, b.completed, b.failed - b.bad,
        b.cancelled, b.expired, b.charged_nano, COALESCE(i.sums, 'none')) AS detail
FROM batches b LEFT JOIN (
    SELECT i.batch_id, count(*) AS fed, count(*) FILTER (WHERE i.state = 'completed') AS completed,
        count(*) FILTER (WHERE i.state = 'failed') AS failed, count(*) FILTER (WHERE i.state = 'cancelled') AS cancelled,
        count(*) FILTER (WHERE i.state = 'expired') AS expired,
        format('%s: %s', count(*), string_agg(DISTINCT i.state, ' ')) AS sums
    FROM batch_items i GROUP BY i.batch_id
) i ON i.batch_id = b.id
WHERE b.ended_at IS NULL AND (
    b.fed <> COALESCE(i.fed, 0) OR b.completed <> COALESCE(i.completed, 0) OR b.failed - b.bad <> COALESCE(i.failed, 0)
    OR b.cancelled <> COALESCE(i.cancelled, 0) OR b.expired <> COALESCE(i.expired, 0))

-- name: items_are_their_requests
-- An item that failed before it was fed has no request.
SELECT i.request_id AS subject, format('item %s of %s is %s, its request %s', i.number, i.batch_id, i.state, COALESCE(r.state, 'missing')) AS detail
FROM batch_items i LEFT JOIN requests r ON r.id = i.request_id AND r.batch_id = i.batch_id AND r.batch_number = i.number
WHERE CASE WHEN i.request_id IS NULL
    THEN i.state <> 'failed' OR i.error_code IS NULL OR i.hold_nano <> 0
    ELSE r.id IS NULL OR (i.state = 'running') <> (r.ended_at IS NULL) OR (i.state = 'completed') <> (r.state = 'succeeded') END

-- name: dearer_tiers_are_losses
-- A request without a row of its own was served at its own tier, or its vendor charged no more for the tier that served it.
SELECT l.request_id AS subject, format('served at %s for %s, of which %s is a loss; its request: %s at %s', l.served_tier, l.vendor_cost_nano,
    l.amount_nano, COALESCE(r.vendor_cost_nano::text, 'missing'), COALESCE(r.served_tier, 'no tier')) AS detail
FROM tier_losses l LEFT JOIN requests r ON r.id = l.request_id AND r.lane = 'flex' AND r.hold_state = 'settled'
WHERE r.served_tier IS DISTINCT FROM l.served_tier OR r.vendor_cost_nano IS DISTINCT FROM l.vendor_cost_nano

-- name: lost_calls_were_made
-- The last call of a request is lost only if the request ended without that call's answer.
SELECT l.request_id AS subject, format('call %s at %s, lost for %s; its request: %s after %s calls, the last one at %s', l.number,
    COALESCE(l.upstream, 'no upstream'), l.vendor_cost_nano, COALESCE(r.state, 'missing'), COALESCE(r.attempts, 0),
    COALESCE(r.upstream_name, 'no upstream')) AS detail
FROM lost_calls l LEFT JOIN requests r ON r.id = l.request_id AND r.ended_at IS NOT NULL
WHERE r.id IS NULL OR l.number < 1 OR r.upstream_name IS NOT NULL AND l.number > r.attempts
    OR r.vendor_cost_nano > 0 AND r.upstream_name IS NOT NULL AND l.number = r.attempts

-- name: costs_are_of_upstreams
-- Rows without an upstream called none, or were settled by the previous release.
SELECT id AS subject, format('%s took %s in %s calls, charged %s', upstream_name, vendor_cost_nano, attempts, charged_nano) AS detail
FROM requests WHERE upstream_name IS NOT NULL AND (attempts < 1 OR ended_at IS NULL OR vendor_cost_nano > 0 AND hold_state <> 'settled')

-- name: nothing_is_quarantined
SELECT request_id AS subject, reason AS detail FROM quarantine

-- name: upstreams
SELECT upstream AS name, COALESCE(r.requests, 0) AS requests, COALESCE(r.charged, 0)::bigint AS charged_nano, COALESCE(r.cost, 0)::bigint AS cost_nano,
    COALESCE(l.calls, 0) AS lost_calls, COALESCE(l.cost, 0)::bigint AS lost_nano
FROM (
    SELECT upstream_name AS upstream, count(*) AS requests, sum(charged_nano) AS charged, sum(vendor_cost_nano) AS cost
    FROM requests WHERE upstream_name IS NOT NULL AND ended_at IS NOT NULL GROUP BY upstream_name
) r FULL JOIN (
    SELECT COALESCE(upstream, 'unknown') AS upstream, count(*) AS calls, sum(vendor_cost_nano) AS cost FROM lost_calls GROUP BY 1
) l USING (upstream) ORDER BY upstream

-- name: counts
SELECT (SELECT count(*) FROM accounts) AS accounts, (SELECT count(*) FROM requests) AS requests,
    (SELECT COALESCE(sum(amount_nano), 0)::bigint FROM tier_losses) AS tier_losses_nano
