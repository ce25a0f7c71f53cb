-- name: rows
-- $4, $5 and $6 say whether to group by day, model and key; a column that is not grouped by is NULL in every row.
SELECT u.*, k.name AS key_name
FROM (
    SELECT
        CASE WHEN $4::boolean THEN day END AS day,
        CASE WHEN $5::boolean THEN model END AS model,
        CASE WHEN $6::boolean THEN key_id END AS key_id,
        sum(requests)::bigint AS requests, sum(failed)::bigint AS failed,
        sum(tokens_input)::bigint AS tokens_input, sum(tokens_output)::bigint AS tokens_output,
        sum(tokens_cached)::bigint AS tokens_cached, sum(tokens_cache_written)::bigint AS tokens_cache_written,
        sum(tokens_reasoning)::bigint AS tokens_reasoning,
        sum(charged_nano)::bigint AS charged_nano
    FROM usage_by_day WHERE account_id = $1 AND day BETWEEN $2 AND $3
    GROUP BY 1, 2, 3 LIMIT $7
) u LEFT JOIN api_keys k ON k.id = u.key_id
