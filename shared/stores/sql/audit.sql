-- name: note
INSERT INTO audit (actor, action, target, before, after, request_id) VALUES ($1, $2, $3, $4, $5, $6)

-- name: list
-- The newest entries first: at most $1 of them, before the entry $2, none older than $3, made by the actor $4.
SELECT id, at, actor, action, target, before, after, request_id FROM audit
WHERE ($2::bigint IS NULL OR id < $2) AND ($3::timestamptz IS NULL OR at >= $3) AND ($4::text IS NULL OR actor = $4)
ORDER BY id DESC LIMIT $1
