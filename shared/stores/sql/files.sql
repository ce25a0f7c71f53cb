-- name: create
INSERT INTO files (id, account_id, day, form, filename, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: ready
-- Unless the key $7, with which it was begun, must stop: why.
WITH asked AS (
    SELECT h.reason FROM files f CROSS JOIN LATERAL holder_of($7, f.created_at) h WHERE f.id = $1
), finished AS (
    UPDATE files SET state = 'ready', bytes = $2, lines = $3, bad_lines = $4, endpoint = $5, expires_at = $6
    FROM asked WHERE id = $1 AND state = 'uploading' AND asked.reason IS NULL
)
SELECT reason FROM asked

-- name: find
-- One whose time is over is found, too, so that it can be told from one that never was or was deleted.
SELECT id, account_id, day, form, filename, endpoint, state, bytes, lines, bad_lines, created_at, expires_at,
    expires_at <= now() AS is_over
FROM files WHERE id = $1 AND account_id = $2 AND state = 'ready'

-- name: page
SELECT id, account_id, day, form, filename, endpoint, state, bytes, lines, bad_lines, created_at, expires_at
FROM files WHERE account_id = $1 AND state = 'ready' AND expires_at > now() AND created_at <= $2 AND (created_at, id) < ($2, $3)
ORDER BY created_at DESC, id DESC LIMIT $4

-- name: page_oldest_first
SELECT id, account_id, day, form, filename, endpoint, state, bytes, lines, bad_lines, created_at, expires_at
FROM files WHERE account_id = $1 AND state = 'ready' AND expires_at > now() AND created_at >= $2 AND (created_at, id) > ($2, $3)
ORDER BY created_at, id LIMIT $4

-- name: delete
UPDATE files SET state = 'deleted' WHERE id = $1 AND account_id = $2 AND state = 'ready'
    AND NOT EXISTS (SELECT FROM batches WHERE file_id = $1 AND ended_at IS NULL)
RETURNING id

-- name: forget
UPDATE files SET state = 'deleted' WHERE id = $1

-- name: drop_lines
DELETE FROM file_lines WHERE file_id = $1 AND day = $2

-- name: bad_lines
SELECT f.id AS file_id, l.number AS line, l.error_code AS code, l.error_message AS message
FROM unnest($1::text[], $2::date[]) AS f(id, day)
CROSS JOIN LATERAL (
    SELECT number, error_code, error_message FROM file_lines
    WHERE file_id = f.id AND day = f.day AND error_code IS NOT NULL ORDER BY number LIMIT $3
) l ORDER BY f.id, l.number

-- name: available
SELECT balance_nano - held_nano FROM accounts WHERE id = $1
