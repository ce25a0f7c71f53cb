-- name: make
INSERT INTO console_sessions (token_sha256, key_id, opened, keep_until)
VALUES ($1, $2, $3, now() + make_interval(secs => $4))

-- name: use_link
-- A link becomes the session that it opens, so it cannot open a second one.
UPDATE console_sessions SET token_sha256 = $2, opened = true, keep_until = now() + make_interval(secs => $3)
WHERE token_sha256 = $1 AND NOT opened AND keep_until > now() RETURNING key_id

-- name: find
-- No row where the session's key has been revoked, has expired or was rotated.
SELECT k.id, k.account_id, k.name, k.secret_sha256, k.scopes, k.rpm, k.limit_nano, k.used_nano, k.expires_at, k.revoked_at,
    k.created_at, k.strict
FROM console_sessions s JOIN api_keys k ON k.id = s.key_id
WHERE s.token_sha256 = $1 AND s.opened AND s.keep_until > now()
    AND k.revoked_at IS NULL AND COALESCE(k.expires_at > now(), true) AND k.successor IS NULL

-- name: end
DELETE FROM console_sessions WHERE token_sha256 = $1
