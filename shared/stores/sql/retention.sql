-- Each query deletes at most $1 rows whose time is over, and waits for nobody: a key that is being used again just now is
-- no longer one of them.

-- name: answers
DELETE FROM answers WHERE request_id IN (
    SELECT request_id FROM answers WHERE keep_until <= now() ORDER BY keep_until LIMIT $1 FOR UPDATE SKIP LOCKED)

-- name: idempotency_keys
DELETE FROM idempotency_keys WHERE (account_id, key) IN (
    SELECT account_id, key FROM idempotency_keys WHERE keep_until <= now()
    ORDER BY keep_until LIMIT $1 FOR UPDATE SKIP LOCKED)
