-- name: used
-- By model: what has ended on the day $1 and later, and the part of it that ended on the day $2 and later.
SELECT model, sum(requests)::bigint AS requests, sum(failed)::bigint AS failed,
    sum(charged_nano)::bigint AS charged_nano,
    COALESCE(sum(requests) FILTER (WHERE day >= $2), 0)::bigint AS requests_today,
    COALESCE(sum(charged_nano) FILTER (WHERE day >= $2), 0)::bigint AS charged_today_nano
FROM usage_by_day WHERE day >= $1 GROUP BY model

-- name: money
SELECT count(*)::bigint AS accounts, COALESCE(sum(balance_nano), 0)::bigint AS balance_nano,
    COALESCE(sum(held_nano), 0)::bigint AS held_nano, COALESCE(sum(in_flight), 0)::bigint AS in_flight
FROM accounts
