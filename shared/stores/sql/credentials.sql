-- name: create
INSERT INTO api_keys (id, account_id, name, secret_sha256, scopes, rpm, limit_nano, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id, account_id, name, secret_sha256, scopes, rpm, limit_nano, used_nano, expires_at, revoked_at, created_at

-- name: find
SELECT id, account_id, name, secret_sha256, scopes, rpm, limit_nano, used_nano, expires_at, revoked_at, created_at
FROM api_keys WHERE id = $1

-- name: list
-- At most $2: those that can be used before those that have ended, of each the newest.
SELECT * FROM (
    SELECT id, account_id, name, secret_sha256, scopes, rpm, limit_nano, used_nano, expires_at, revoked_at, created_at
    FROM api_keys WHERE account_id = $1
    ORDER BY revoked_at IS NULL AND COALESCE(expires_at > now(), true) DESC, created_at DESC, id DESC LIMIT $2
) k ORDER BY created_at, id

-- name: is_usable
-- Until the transaction ends it cannot be revoked.
SELECT revoked_at IS NULL AND COALESCE(expires_at > now(), true) FROM api_keys WHERE id = $1 FOR SHARE

-- name: count_usable
SELECT count(*) FROM api_keys WHERE account_id = $1 AND revoked_at IS NULL AND COALESCE(expires_at > now(), true)

-- name: revoke
UPDATE api_keys SET revoked_at = LEAST(revoked_at, now()) WHERE id = $1 RETURNING id

-- name: end_after
UPDATE api_keys SET expires_at = LEAST(expires_at, now() + make_interval(secs => $2)) WHERE id = $1

-- name: lock_account
SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE

-- name: take_limit
WITH old AS (SELECT id, limit_nano, used_nano FROM api_keys WHERE id = $1)
UPDATE api_keys k SET limit_nano = old.used_nano FROM old WHERE k.id = old.id AND k.limit_nano IS NOT NULL
RETURNING old.limit_nano - old.used_nano
