-- name: begin
-- Begin the upload of a file of account $2 with $3 bytes, if its quota has room for them (`room_for`).
WITH quota AS MATERIALIZED (
    SELECT * FROM room_for($2, $1, $3, $4, $5, $6, $7)
), made AS (
    INSERT INTO files (id, account_id, day, form, filename, created_at, expires_at, counted, look_at)
    SELECT $1, $2, (now() AT TIME ZONE 'UTC')::date, $9, $10, $11, $12, $3, now() + make_interval(secs => $8)
    FROM quota WHERE outcome = 'ok' RETURNING day
)
SELECT quota.*, (SELECT day FROM made) AS day FROM quota

-- name: count
-- Note that an upload goes on and has $3 bytes now, if the quota has room for them. `lives` is false when the upload has been given
-- up.
WITH quota AS MATERIALIZED (
    SELECT * FROM room_for($2, $1, $3, $4, $5, $6, $7)
), counted AS (
    UPDATE files f SET counted = $3, look_at = now() + make_interval(secs => $8)
    FROM quota WHERE f.id = $1 AND f.state = 'uploading' AND quota.outcome = 'ok' RETURNING f.id
)
SELECT quota.*, EXISTS (SELECT FROM counted) AS lives FROM quota

-- name: ready
-- End the upload, unless the key $7, with which it was begun, must stop: then `reason` says why. `done` is false when the
-- upload has been given up.
WITH asked AS (
    SELECT h.reason FROM files f CROSS JOIN LATERAL holder_of($7, f.created_at) h WHERE f.id = $1
), finished AS (
    UPDATE files SET state = 'ready', bytes = $2, lines = $3, bad_lines = $4, endpoint = $5, expires_at = $6, look_at = $6, counted = $8
    FROM asked WHERE id = $1 AND state = 'uploading' AND asked.reason IS NULL RETURNING id
)
SELECT reason, EXISTS (SELECT FROM finished) AS done FROM asked

-- name: find
-- A file that has expired is found, too (`is_over`), so that it can be told from one that never existed or was deleted.
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
SELECT delete_file($1, $2, $3, $4)

-- name: abandon
-- End an upload that broke off.
UPDATE files SET state = 'deleted', counted = 0, look_at = now() WHERE id = $1

-- name: bad_lines
SELECT f.id AS file_id, l.number AS line, l.error_code AS code, l.error_message AS message
FROM unnest($1::text[], $2::date[]) AS f(id, day)
CROSS JOIN LATERAL (
    SELECT number, error_code, error_message FROM file_lines
    WHERE file_id = f.id AND day = f.day AND error_code IS NOT NULL ORDER BY number LIMIT $3
) l ORDER BY f.id, l.number

-- name: available
SELECT balance_nano - held_nano FROM accounts WHERE id = $1

-- name: due
-- The next $1 files that must be looked at. `needed_until` is the time until which the results of ended batches need the file's
-- lines. `goes_with_day` says that the file expired less than a day ago and that its whole day will soon be dropped, so that
-- its lines need not be deleted one by one.
SELECT f.id, f.day, f.state, f.expires_at > now() AS is_current, n.needed_until = 'infinity' AS has_open_batch, n.needed_until,
    f.state = 'ready' AND f.expires_at > now() - interval '1 day' AND f.day <= (now() AT TIME ZONE 'UTC')::date - $2 AS goes_with_day
FROM files f CROSS JOIN LATERAL lines_needed_until(f.id, $2) AS n(needed_until)
WHERE f.look_at <= now() ORDER BY f.look_at LIMIT $1

-- name: count_again
-- For a file that was made before bytes were counted.
UPDATE files SET counted = GREATEST(counted, bytes), look_at = expires_at WHERE id = $1 AND state = 'ready'

-- name: give_up
-- Give up an upload, unless its front door has just said that it goes on.
UPDATE files SET state = 'deleted', counted = 0 WHERE id = $1 AND state = 'uploading' AND look_at <= now() RETURNING id

-- name: look_later
UPDATE files SET look_at = $2, counted = LEAST(counted, lines * $3::bigint) WHERE id = $1 AND state <> 'uploading'

-- name: page_end
-- The number of the last of the next lines after line $3: at most $4 lines, and at most $5 bytes unless a single line has more.
SELECT max(number) FROM (
    SELECT number, sum(size) OVER (ORDER BY number) - size AS before
    FROM (
        SELECT number, COALESCE(octet_length(asked), 0) AS size FROM file_lines
        WHERE file_id = $1 AND day = $2 AND number > $3 ORDER BY number LIMIT $4
    ) next
) measured WHERE before < $5

-- name: delete_lines
DELETE FROM file_lines WHERE file_id = $1 AND day = $2 AND number > $3 AND number <= $4

-- name: empty_lines
-- Empty the lines that no batch has answered: nobody reads their requests any more.
UPDATE file_lines l SET asked = ''
WHERE file_id = $1 AND day = $2 AND number > $3 AND number <= $4 AND asked <> '' AND NOT EXISTS (
    SELECT FROM batches b JOIN batch_answers a ON a.batch_id = b.id AND a.day = b.day AND a.number = l.number
    WHERE b.file_id = $1)
