-- Each query deletes at most $1 rows that have expired, returns how many, and waits for no lock: an idempotency key that somebody is
-- using again at that moment has not expired.

-- name: answers
WITH gone AS (
    DELETE FROM answers WHERE request_id IN (
        SELECT request_id FROM answers WHERE keep_until <= now() ORDER BY keep_until LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) FROM gone

-- name: idempotency_keys
WITH gone AS (
    DELETE FROM idempotency_keys WHERE (account_id, key) IN (
        SELECT account_id, key FROM idempotency_keys WHERE keep_until <= now()
        ORDER BY keep_until LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) FROM gone

-- name: responses
-- Deletes for one account at a time: the account's room is locked, too, and nobody may wait for two such rows in another order
-- than others do.
WITH gone AS (
    DELETE FROM responses WHERE request_id IN (
        SELECT request_id FROM responses
        WHERE keep_until <= now() AND account_id = (SELECT account_id FROM responses WHERE keep_until <= now() ORDER BY keep_until LIMIT 1)
        ORDER BY keep_until LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING account_id, bytes
), counted AS (
    UPDATE response_room m SET bytes = m.bytes - g.bytes
    FROM (SELECT account_id, sum(bytes)::bigint AS bytes FROM gone GROUP BY account_id) g WHERE m.account_id = g.account_id
)
SELECT count(*) FROM gone

-- name: console_sessions
WITH gone AS (
    DELETE FROM console_sessions WHERE token_sha256 IN (
        SELECT token_sha256 FROM console_sessions WHERE keep_until <= now()
        ORDER BY keep_until LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) FROM gone
