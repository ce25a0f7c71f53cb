-- name: create
INSERT INTO operators (name, sign_in_id, sign_in_sha256) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING
RETURNING name, created_at, revoked_at

-- name: lock
-- Taken before a token is made, so that the operator is not revoked at the same time.
SELECT 1 FROM operators WHERE name = $1 FOR UPDATE

-- name: find
SELECT name, created_at, revoked_at FROM operators WHERE name = $1

-- name: list
SELECT name, created_at, revoked_at FROM operators ORDER BY created_at, name

-- name: revoke
UPDATE operators SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL RETURNING revoked_at

-- name: create_token
INSERT INTO operator_tokens (id, operator, secret_sha256, scopes, expires_at) VALUES ($1, $2, $3, $4, $5)
RETURNING id, operator, secret_sha256, scopes, expires_at, revoked_at, created_at

-- name: find_token
-- A token ends (`revoked_at`) with its operator, too.
SELECT t.id, t.operator, t.secret_sha256, t.scopes, t.expires_at, LEAST(t.revoked_at, o.revoked_at) AS revoked_at, t.created_at
FROM operator_tokens t JOIN operators o ON o.name = t.operator WHERE t.id = $1

-- name: tokens
SELECT t.id, t.operator, t.secret_sha256, t.scopes, t.expires_at, LEAST(t.revoked_at, o.revoked_at) AS revoked_at, t.created_at
FROM operator_tokens t JOIN operators o ON o.name = t.operator ORDER BY t.created_at, t.id

-- name: revoke_token
UPDATE operator_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING revoked_at
