-- name: reserve
SELECT request_id, outcome, granted_limit, granted_hold, needed, available, existing_id FROM reserve($1::jsonb, $2)

-- name: settle
SELECT request_id, outcome, charged FROM settle($1::jsonb)

-- name: settle_and_keep
-- Answers ($2 requests, $3 answers, $4 until when) are kept in the same transaction, of holds that end in it.
WITH settled AS MATERIALIZED (
    SELECT request_id, outcome, charged FROM settle($1::jsonb)
), kept AS (
    INSERT INTO answers (request_id, answer, keep_until)
    SELECT a.request_id, a.answer, a.keep_until
    FROM unnest($2::text[], $3::bytea[], $4::timestamptz[]) AS a(request_id, answer, keep_until)
    JOIN settled s ON s.request_id = a.request_id AND s.outcome = 'settled'
    ON CONFLICT DO NOTHING
)
SELECT request_id, outcome, charged FROM settled

-- name: quarantine
INSERT INTO quarantine (request_id, settlement, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: expired_holds
SELECT id, created_at, account_id, provider, lane FROM requests
WHERE ended_at IS NULL AND expires_at < now() AND id NOT IN (SELECT request_id FROM quarantine)
ORDER BY expires_at LIMIT $1

-- name: try_sweep_lock
SELECT pg_try_advisory_xact_lock($1)

-- name: ensure_partitions
SELECT ensure_partitions($1)
