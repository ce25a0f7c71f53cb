-- name: reserve
SELECT request_id, outcome, granted_limit, granted_hold, needed, available, existing_id FROM reserve($1::jsonb, $2)

-- name: settle
SELECT request_id, outcome, charged FROM settle($1::jsonb)

-- name: settle_and_keep
-- Answers ($2 requests, $3 answers, $4 until when, $5 $6 $7 the line of a batch or NULL) are kept in the same transaction, of
-- holds that end in it: a batch's with the batch.
WITH settled AS MATERIALIZED (
    SELECT request_id, outcome, charged FROM settle($1::jsonb)
), given AS MATERIALIZED (
    SELECT a.* FROM unnest($2::text[], $3::bytea[], $4::timestamptz[], $5::date[], $6::text[], $7::integer[])
        AS a(request_id, answer, keep_until, day, batch_id, number)
    JOIN settled s ON s.request_id = a.request_id AND s.outcome = 'settled'
), kept AS (
    INSERT INTO answers (request_id, answer, keep_until)
    SELECT request_id, answer, keep_until FROM given WHERE batch_id IS NULL
    ON CONFLICT DO NOTHING
), kept_with_batch AS (
    INSERT INTO batch_answers (day, batch_id, number, answer)
    SELECT day, batch_id, number, answer FROM given WHERE batch_id IS NOT NULL
)
SELECT request_id, outcome, charged FROM settled

-- name: quarantine
INSERT INTO quarantine (request_id, settlement, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: hold_states
-- Each by its primary key, however many are asked about.
SELECT g.id, (SELECT r.hold_state FROM requests r WHERE r.id = g.id AND r.created_at = g.created_at) AS hold_state
FROM unnest($1::text[], $2::timestamptz[]) AS g(id, created_at)

-- name: expired_holds
SELECT id, created_at, account_id, provider, lane FROM requests
WHERE ended_at IS NULL AND expires_at < now() AND id NOT IN (SELECT request_id FROM quarantine)
ORDER BY expires_at LIMIT $1

-- name: try_sweep_lock
SELECT pg_try_advisory_xact_lock($1)

-- name: ensure_partitions
SELECT ensure_partitions($1)

-- name: rotate_days
SELECT rotate_days($1, $2)
