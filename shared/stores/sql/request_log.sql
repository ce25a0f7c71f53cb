-- name: find
SELECT id, created_at, account_id, key_id, model, provider, lane, stream, price_version, input_price, output_price, cached_price,
    cache_write_price, cache_write_long_price, long_above, long_input_price, long_output_price, long_cached_price,
    long_cache_write_price, long_cache_write_long_price, output_limit, hold_nano, deadline_at, keep_until, metadata, state, ended_at,
    tokens_input, tokens_output, tokens_cached, tokens_cache_written, tokens_cache_written_long, tokens_reasoning, usage_estimated,
    charged_nano, finish_reason, error_code, error_message, attempts, served_tier, saved_nano, chain, tried, keep_until IS NOT NULL AND NOT EXISTS (
        SELECT FROM responses p WHERE p.request_id = requests.id AND p.attended) AS outlives_reader
FROM requests WHERE id = $1 AND created_at = $2 AND account_id = $3

-- name: page
SELECT id, created_at, account_id, key_id, model, provider, lane, stream, price_version, input_price, output_price, cached_price,
    cache_write_price, cache_write_long_price, long_above, long_input_price, long_output_price, long_cached_price,
    long_cache_write_price, long_cache_write_long_price, output_limit, hold_nano, deadline_at, keep_until, metadata, state, ended_at,
    tokens_input, tokens_output, tokens_cached, tokens_cache_written, tokens_cache_written_long, tokens_reasoning, usage_estimated,
    charged_nano, finish_reason, error_code, error_message, attempts, served_tier, saved_nano, chain, tried, keep_until IS NOT NULL AND NOT EXISTS (
        SELECT FROM responses p WHERE p.request_id = requests.id AND p.attended) AS outlives_reader
FROM requests WHERE account_id = $1 AND created_at <= $2 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4

-- name: search
-- Of the $5 requests before the time $2 and the id $3, those that match: in the state $6, and with $7 in the model's name or as
-- the id of the key.
SELECT id, created_at, account_id, key_id, model, provider, lane, stream, price_version, input_price, output_price, cached_price,
    cache_write_price, cache_write_long_price, long_above, long_input_price, long_output_price, long_cached_price,
    long_cache_write_price, long_cache_write_long_price, output_limit, hold_nano, deadline_at, keep_until, metadata, state, ended_at,
    tokens_input, tokens_output, tokens_cached, tokens_cache_written, tokens_cache_written_long, tokens_reasoning, usage_estimated,
    charged_nano, finish_reason, error_code, error_message, attempts, served_tier, saved_nano, chain, tried, keep_until IS NOT NULL AND NOT EXISTS (
        SELECT FROM responses p WHERE p.request_id = requests.id AND p.attended) AS outlives_reader
FROM (
    SELECT * FROM requests WHERE account_id = $1 AND created_at <= $2 AND (created_at, id) < ($2, $3)
    ORDER BY created_at DESC, id DESC LIMIT $5
) requests
WHERE ($6::text IS NULL OR state = $6) AND ($7::text IS NULL OR position(lower($7) IN lower(model)) > 0 OR key_id = $7)
ORDER BY created_at DESC, id DESC LIMIT $4

-- name: search_end
-- The id of the last of these $4 requests; no row where there are fewer.
SELECT id FROM requests WHERE account_id = $1 AND created_at <= $2 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC OFFSET $4 - 1 LIMIT 1

-- name: by_key
SELECT i.request_id, i.fingerprint, COALESCE(r.state IN ('failed', 'cancelled') AND r.charged_nano = 0, false) AS free
FROM idempotency_keys i LEFT JOIN requests r ON r.id = i.request_id AND r.created_at = i.request_created_at
WHERE i.account_id = $1 AND i.key = $2 AND i.keep_until > now()

-- name: answer_bytes
SELECT octet_length(answer) FROM answers WHERE request_id = $1 AND keep_until > now()
UNION ALL
SELECT octet_length(a.answer)
FROM requests r JOIN batch_answers a ON a.batch_id = r.batch_id AND a.number = r.batch_number AND a.day = r.batch_day
WHERE r.id = $1 AND r.created_at = $2 AND r.batch_id IS NOT NULL AND r.keep_until > now()

-- name: answer
-- The answer to a batch's line is not here: it is kept with the batch.
SELECT answer FROM answers WHERE request_id = $1 AND keep_until > now()
UNION ALL
SELECT a.answer
FROM requests r JOIN batch_answers a ON a.batch_id = r.batch_id AND a.number = r.batch_number AND a.day = r.batch_day
WHERE r.id = $1 AND r.created_at = $2 AND r.batch_id IS NOT NULL AND r.keep_until > now()
