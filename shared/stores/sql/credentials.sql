-- name: create
INSERT INTO api_keys (id, account_id, name, secret_sha256, scopes, rpm, limit_nano, expires_at, strict)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING id, account_id, name, secret_sha256, scopes, rpm, limit_nano, used_nano, expires_at, revoked_at, created_at, strict

-- name: find
SELECT id, account_id, name, secret_sha256, scopes, rpm, limit_nano, used_nano, expires_at, revoked_at, created_at, strict
FROM api_keys WHERE id = $1

-- name: list
-- At most $2 keys: keys that can be used are chosen before keys that have ended, and newer ones before older ones.
SELECT * FROM (
    SELECT id, account_id, name, secret_sha256, scopes, rpm, limit_nano, used_nano, expires_at, revoked_at, created_at, strict
    FROM api_keys WHERE account_id = $1
    ORDER BY revoked_at IS NULL AND COALESCE(expires_at > now(), true) DESC, created_at DESC, id DESC LIMIT $2
) k ORDER BY created_at, id

-- name: is_usable
-- Locks the key's row, so that it cannot be revoked until the transaction ends.
SELECT revoked_at IS NULL AND COALESCE(expires_at > now(), true) FROM api_keys WHERE id = $1 FOR SHARE

-- name: count_usable
SELECT count(*) FROM api_keys WHERE account_id = $1 AND revoked_at IS NULL AND COALESCE(expires_at > now(), true)

-- name: lock
SELECT 1 FROM api_keys WHERE id = $1 FOR UPDATE

-- name: revoke
UPDATE api_keys SET revoked_at = LEAST(revoked_at, now()) WHERE id = $1 RETURNING id

-- name: successor
SELECT successor FROM api_keys WHERE id = $1

-- name: hand_over
-- The key ends after $2 seconds; everything that runs belongs to the key $3 from now on.
UPDATE api_keys SET
    expires_at = LEAST(expires_at, now() + make_interval(secs => $2)), successor = $3, rotated_at = clock_timestamp()
WHERE id = $1

-- name: hand_over_batches
UPDATE batches SET key_id = $2 WHERE key_id = $1 AND ended_at IS NULL

-- name: hand_over_requests
-- Hand over the running requests, together with the part of the key's limit that they hold.
WITH moved AS (
    UPDATE requests SET key_id = $2 WHERE key_id = $1 AND ended_at IS NULL AND account_id = $3 RETURNING hold_nano
), sums AS (
    SELECT COALESCE(sum(hold_nano), 0)::bigint AS held FROM moved
)
UPDATE api_keys k SET
    used_nano = k.used_nano + CASE k.id WHEN $1 THEN -sums.held ELSE sums.held END,
    limit_nano = k.limit_nano + CASE k.id WHEN $1 THEN -sums.held ELSE sums.held END
FROM sums WHERE k.id IN ($1, $2) AND k.limit_nano IS NOT NULL

-- name: ended_since
-- Work that the keys $1 began at the times $2: which of it must stop, and why. Only keys that were revoked, have expired or
-- were rotated are looked at closely, and those are few.
SELECT w.key_id, w.began_at, h.reason
FROM unnest($1::text[], $2::timestamptz[]) AS w(key_id, began_at)
CROSS JOIN LATERAL holder_of(w.key_id, w.began_at) h
WHERE h.reason IS NOT NULL AND w.key_id IN (
    SELECT id FROM api_keys
    WHERE id = ANY($1) AND (revoked_at IS NOT NULL OR expires_at <= now() OR successor IS NOT NULL))

-- name: ended_lately
SELECT id FROM api_keys
WHERE revoked_at > now() - make_interval(secs => $1) OR expires_at BETWEEN now() - make_interval(secs => $1) AND now()

-- name: requests_to_stop
-- Running requests of the keys $1, which have ended, and of the keys that these replaced: a request that was authenticated just
-- before a rotation and admitted just after it still belongs to the old key. At most $3 requests, with ids after $2.
WITH RECURSIVE ended AS (
    SELECT unnest($1::text[]) AS id UNION SELECT k.id FROM ended e JOIN api_keys k ON k.successor = e.id
)
SELECT r.id FROM requests r CROSS JOIN LATERAL holder_of(r.key_id, r.created_at) h
WHERE r.ended_at IS NULL AND r.batch_id IS NULL AND r.key_id IN (SELECT id FROM ended) AND r.id > $2 AND h.reason IS NOT NULL
ORDER BY r.id LIMIT $3

-- name: lock_account
SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE

-- name: take_limit
WITH old AS (SELECT id, limit_nano, used_nano FROM api_keys WHERE id = $1)
UPDATE api_keys k SET limit_nano = old.used_nano FROM old WHERE k.id = old.id AND k.limit_nano IS NOT NULL
RETURNING old.limit_nano - old.used_nano
