-- name: lock_file
-- Taken before a batch is made over the file: whoever deletes the file waits for it, and then sees the batch.
SELECT state = 'ready' FROM files WHERE id = $1 AND account_id = $2 FOR SHARE

-- name: create
-- Make a batch. $10 is the time until which its results are kept.
WITH made AS (
    INSERT INTO batches (
        id, account_id, key_id, file_id, file_day, day, form, endpoint, total, bad, failed, metadata, created_at, started_at, expires_at,
        state, ended_at)
    SELECT $1, $2, $3, f.id, f.day, (now() AT TIME ZONE 'UTC')::date, f.form, $4, f.lines, f.bad_lines, f.bad_lines, $5::jsonb, $6, now(), $7,
        CASE f.lines WHEN f.bad_lines THEN 'failed' ELSE 'in_progress' END, CASE f.lines WHEN f.bad_lines THEN now() END
    FROM files f WHERE f.id = $8 AND f.account_id = $2 AND f.state = 'ready'
        AND (SELECT count(*) FROM batches b WHERE b.account_id = $2 AND b.ended_at IS NULL) < $9
    RETURNING id
)
INSERT INTO batch_keeping (batch_id, results_until) SELECT id, $10 FROM made RETURNING batch_id

-- name: create_cursors
-- A cursor for each feed of the file's lines. Here and in `batch_items` and `file_lines` the column `provider` has the feed's name.
INSERT INTO batch_cursors (batch_id, provider, left_over)
SELECT $1, provider AS feed, count(*) FROM file_lines WHERE file_id = $2 AND day = $3 AND provider IS NOT NULL GROUP BY feed

-- name: lock_creation
SELECT lock_batches_of($1)

-- name: find_key
SELECT request_id AS made, fingerprint FROM idempotency_keys WHERE account_id = $1 AND key = $2 AND keep_until > now()

-- name: keep_key
INSERT INTO idempotency_keys (account_id, key, fingerprint, request_id, request_created_at, keep_until) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (account_id, key) DO UPDATE SET
    fingerprint = EXCLUDED.fingerprint, request_id = EXCLUDED.request_id,
    request_created_at = EXCLUDED.request_created_at, keep_until = EXCLUDED.keep_until

-- name: hide_output
-- Hide a result file of an ended batch.
UPDATE batches SET deleted_files = array_append(deleted_files, $3)
WHERE id = $1 AND account_id = $2 AND ended_at IS NOT NULL AND $3 <> ALL (deleted_files)
RETURNING id

-- name: erase_answers
-- Erase the next $3 answers of a batch that has ended; returns how many there were.
WITH erased AS (
    DELETE FROM batch_answers WHERE batch_id = $1 AND day = $2 AND number IN (
        SELECT number FROM batch_answers WHERE batch_id = $1 AND day = $2 ORDER BY number LIMIT $3)
    RETURNING number
)
SELECT count(*) FROM erased

-- name: hide
-- Hide an ended batch from every API.
INSERT INTO batch_deletions (batch_id) SELECT id FROM batches WHERE id = $1 AND ended_at IS NOT NULL ON CONFLICT DO NOTHING

-- name: find
SELECT b.*, s.reason, k.results_until, COALESCE(v.saved_nano, 0) AS saved_nano
FROM batches b LEFT JOIN batch_stops s ON s.batch_id = b.id LEFT JOIN batch_keeping k ON k.batch_id = b.id
LEFT JOIN batch_savings v ON v.batch_id = b.id
WHERE b.id = $1 AND b.account_id = $2 AND NOT EXISTS (SELECT FROM batch_deletions d WHERE d.batch_id = b.id)

-- name: page
SELECT b.*, s.reason, k.results_until, COALESCE(v.saved_nano, 0) AS saved_nano
FROM batches b LEFT JOIN batch_stops s ON s.batch_id = b.id LEFT JOIN batch_keeping k ON k.batch_id = b.id
LEFT JOIN batch_savings v ON v.batch_id = b.id
WHERE b.account_id = $1 AND b.created_at <= $2 AND (b.created_at, b.id) < ($2, $3)
    AND NOT EXISTS (SELECT FROM batch_deletions d WHERE d.batch_id = b.id)
ORDER BY b.created_at DESC, b.id DESC LIMIT $4

-- name: page_before
-- The $4 batches that come next towards newer ones, the oldest of them first.
SELECT b.*, s.reason, k.results_until, COALESCE(v.saved_nano, 0) AS saved_nano
FROM batches b LEFT JOIN batch_stops s ON s.batch_id = b.id LEFT JOIN batch_keeping k ON k.batch_id = b.id
LEFT JOIN batch_savings v ON v.batch_id = b.id
WHERE b.account_id = $1 AND b.created_at >= $2 AND (b.created_at, b.id) > ($2, $3)
    AND NOT EXISTS (SELECT FROM batch_deletions d WHERE d.batch_id = b.id)
ORDER BY b.created_at, b.id LIMIT $4

-- name: cancel
-- Cancel a batch of which lines may still be fed; any other stays as it is, and no row is returned. $2 is the reason if the service
-- itself cancels it, NULL if its owner does.
WITH cancelled AS (
    UPDATE batches SET state = 'cancelling', ends_as = 'cancelled', cancelled_at = now(), paused_for = NULL, needed_nano = NULL
    WHERE id = $1 AND state IN ('validating', 'in_progress', 'paused') RETURNING id
), noted AS (
    INSERT INTO batch_stops (batch_id, reason) SELECT id, $2::text FROM cancelled WHERE $2 IS NOT NULL
)
SELECT id FROM cancelled

-- name: results
-- Up to $6 of the next lines, cut where their bytes would pass $7 (at least one line is returned). `found` is the number of
-- lines before the cut. The request of a line is returned only together with an answer. Sizes are known without reading the
-- values that Postgres stores outside of the row, and what is cut off is not read. Items and answers are looked up line by line
-- (LATERAL with LIMIT), so that a page costs the same however many lines there are and however old the statistics are. All
-- items of a day are dropped together, so one item that exists (`items_kept`) shows that they all do.
SELECT number, custom_id, asked, bad_code, bad_message, state, request_id, answer, error_code, error_message, found,
    EXISTS (SELECT FROM batch_items WHERE batch_id = $1 AND day = $2) AS items_kept
FROM (
    SELECT next.*, count(*) OVER () AS found, (sum(bytes) OVER (ORDER BY number ROWS UNBOUNDED PRECEDING))::bigint AS so_far
    FROM (
        SELECT l.number, l.custom_id, CASE WHEN a.answer IS NOT NULL THEN l.asked END AS asked,
            l.error_code AS bad_code, l.error_message AS bad_message,
            i.state, i.request_id, a.answer, i.error_code, i.error_message,
            COALESCE(octet_length(l.asked) + octet_length(a.answer), 0) + COALESCE(octet_length(l.custom_id), 0)
                + COALESCE(octet_length(l.error_message), 0) + COALESCE(octet_length(i.error_message), 0) AS bytes
        FROM file_lines l
        LEFT JOIN LATERAL (
            SELECT state, request_id, error_code, error_message FROM batch_items
            WHERE batch_id = $1 AND day = $2 AND number = l.number LIMIT 1) i ON true
        LEFT JOIN LATERAL (
            SELECT answer FROM batch_answers WHERE batch_id = $1 AND day = $2 AND number = l.number LIMIT 1) a ON true
        WHERE l.file_id = $3 AND l.day = $4 AND l.number > $5 ORDER BY l.number LIMIT $6
    ) next
) measured WHERE so_far <= $7 OR so_far = bytes ORDER BY number

-- name: lines_kept
SELECT EXISTS (SELECT FROM file_lines WHERE file_id = $1 AND day = $2)

-- name: by_index
-- Applies to the rest of the transaction: tables that grow are not scanned as a whole, however old their statistics are.
SET LOCAL enable_seqscan = off

-- name: turns
-- The next $3 accounts after $2 that have lines to feed. The index is read once for each account, whatever the number of
-- batches.
WITH RECURSIVE turns (account_id, place) AS (
    (SELECT turn_of, 1 FROM batch_cursors WHERE provider = $1 AND turn_of > $2 ORDER BY turn_of LIMIT 1)
    UNION ALL
    SELECT n.turn_of, t.place + 1
    FROM turns t CROSS JOIN LATERAL (
        SELECT c.turn_of FROM batch_cursors c WHERE c.provider = $1 AND c.turn_of > t.account_id ORDER BY c.turn_of LIMIT 1) n
    WHERE t.place < $3
)
SELECT account_id FROM turns ORDER BY place

-- name: open_cursors
-- For each account in $2, the next $4 of its batches: first those after the batch in $3, then those up to it. A batch whose key
-- has ended and that must be handed over or stopped is not `ready`: another job does that first.
SELECT c.batch_id, b.account_id, b.key_id, b.file_id, b.file_day, b.day, b.created_at, b.expires_at, c.fed_to, c.left_over,
    b.expires_at > now() AND NOT EXISTS (
        SELECT FROM api_keys k CROSS JOIN LATERAL holder_of(k.id, b.created_at) h
        WHERE k.id = b.key_id AND (k.revoked_at <= now() OR k.expires_at <= now()) AND (h.reason IS NOT NULL OR h.holder <> k.id)) AS ready
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS t(account_id, after, place)
CROSS JOIN LATERAL (
    SELECT * FROM (
        (SELECT batch_id, fed_to, left_over, 1 AS lap FROM batch_cursors
        WHERE provider = $1 AND turn_of = t.account_id AND batch_id > t.after ORDER BY batch_id LIMIT $4)
        UNION ALL
        (SELECT batch_id, fed_to, left_over, 2 FROM batch_cursors
        WHERE provider = $1 AND turn_of = t.account_id AND batch_id <= t.after ORDER BY batch_id LIMIT $4)
    ) both_laps ORDER BY lap, batch_id LIMIT $4
) c JOIN batches b ON b.id = c.batch_id
ORDER BY t.place, c.lap, c.batch_id

-- name: running
SELECT account_id, batch_id, model, count(*)::integer AS items, sum(bytes)::bigint AS bytes
FROM batch_items WHERE provider = $1 AND state = 'running' GROUP BY account_id, batch_id, model

-- name: waiting
-- For each feed in $1: how many lines its first $2 batches with lines to feed have left (each has at least one), and the models
-- of the batch items that run.
SELECT f.feed, w.lines, r.models
FROM unnest($1::text[]) AS f(feed)
CROSS JOIN LATERAL (
    SELECT COALESCE(sum(left_over), 0)::bigint AS lines FROM (
        SELECT left_over FROM batch_cursors WHERE provider = f.feed AND turn_of IS NOT NULL ORDER BY turn_of LIMIT $2) first) w
CROSS JOIN LATERAL (
    SELECT COALESCE(array_agg(DISTINCT model), '{}') AS models FROM batch_items WHERE provider = f.feed AND state = 'running') r

-- name: next_lines
SELECT number, asked FROM (
    SELECT number, asked, sum(octet_length(asked)) OVER (ORDER BY number) - octet_length(asked) AS before
    FROM (
        SELECT number, asked FROM file_lines
        WHERE file_id = $1 AND day = $2 AND provider = $3 AND number > $4 ORDER BY number LIMIT $5
    ) first
) measured WHERE before <= $6 ORDER BY number

-- name: feed
SELECT request_id, outcome, granted_hold, needed FROM feed($1, $2, $3, $4::jsonb, $5, $6, $7)

-- name: pause
UPDATE batches SET state = 'paused', paused_for = $2, needed_nano = $3 WHERE id = $1 AND state = 'in_progress'

-- name: resume
-- $1 is the percentage of the balance that batches may hold: for want of credit, `needed_nano` is the balance with which the
-- next line can be held, and the line's hold is that part of it.
UPDATE batches b SET state = 'in_progress', paused_for = NULL, needed_nano = NULL
FROM accounts a, api_keys k
WHERE b.ended_at IS NULL AND b.state = 'paused' AND a.id = b.account_id AND k.id = b.key_id
    AND (b.paused_for <> 'insufficient_credit' OR a.balance_nano - a.held_nano >= b.needed_nano)
    AND (k.limit_nano IS NULL OR k.limit_nano - k.used_nano >=
        CASE WHEN b.paused_for = 'insufficient_credit' THEN trunc(b.needed_nano::numeric * $1 / 100) ELSE b.needed_nano END)
RETURNING b.id

-- name: expire
UPDATE batches SET state = 'finalizing', ends_as = 'expired', finalized_at = now(), paused_for = NULL, needed_nano = NULL
WHERE ended_at IS NULL AND expires_at <= now() AND state IN ('validating', 'in_progress', 'paused')
RETURNING id

-- name: of_ended_keys
-- Open batches whose key has ended: the key that they belong to now, or the reason why they must stop.
SELECT b.id, h.holder, h.reason
FROM batches b JOIN api_keys k ON k.id = b.key_id AND (k.revoked_at <= now() OR k.expires_at <= now())
CROSS JOIN LATERAL holder_of(b.key_id, b.created_at) h
WHERE b.ended_at IS NULL AND (h.reason IS NOT NULL OR h.holder <> b.key_id)

-- name: hand_over
UPDATE batches SET key_id = $2 WHERE id = $1 AND ended_at IS NULL

-- name: holder
SELECT holder, reason FROM holder_of($1, $2)

-- name: finalize
UPDATE batches SET state = 'finalizing', finalized_at = now()
WHERE ended_at IS NULL AND state = 'in_progress' AND completed + failed + cancelled + expired = total

-- name: to_withdraw
SELECT i.batch_id, i.request_id, i.provider AS feed, i.account_id, b.ends_as
FROM batches b JOIN batch_items i ON i.batch_id = b.id AND i.day = b.day AND i.state = 'running'
WHERE b.ended_at IS NULL AND b.ends_as <> 'completed' AND b.state IN ('cancelling', 'finalizing') LIMIT $1

-- name: to_end
SELECT * FROM batches
WHERE ended_at IS NULL AND state IN ('cancelling', 'finalizing') AND fed = completed + failed + cancelled + expired - bad
    AND (exported_to IS NOT NULL OR NOT $2)
ORDER BY created_at LIMIT $1

-- name: claim_export
UPDATE batches SET export_after = now() + make_interval(secs => $1)
WHERE id = (
    SELECT id FROM batches
    WHERE ended_at IS NULL AND state IN ('cancelling', 'finalizing') AND fed = completed + failed + cancelled + expired - bad
        AND exported_to IS NULL AND (export_after IS NULL OR export_after <= now())
    ORDER BY export_after NULLS FIRST, created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING *, (SELECT reason FROM batch_stops WHERE batch_id = batches.id) AS reason

-- name: exported
UPDATE batches SET exported_to = $2 WHERE id = $1 AND ended_at IS NULL

-- name: export_later
UPDATE batches SET export_after = now() + make_interval(secs => $2) WHERE id = $1 AND ended_at IS NULL

-- name: end
UPDATE batches SET state = ends_as, ended_at = now(),
    cancelled = cancelled + CASE ends_as WHEN 'cancelled' THEN total - bad - fed ELSE 0 END,
    expired = expired + CASE ends_as WHEN 'expired' THEN total - bad - fed ELSE 0 END
WHERE id = $1 AND ended_at IS NULL AND state IN ('cancelling', 'finalizing')
RETURNING state

-- name: items_to_enqueue
-- Of the items of requests $1, those that still run, with everything of which a job is made.
SELECT i.request_id, i.provider AS feed, i.number, b.file_id, b.file_day, l.asked, r.account_id, r.key_id, r.price_version, r.input_price, r.output_price,
    r.cached_price, r.cache_write_price, r.cache_write_long_price, r.long_above, r.long_input_price, r.long_output_price,
    r.long_cached_price, r.long_cache_write_price, r.long_cache_write_long_price, r.chain, r.output_limit, r.hold_nano, r.deadline_at, r.keep_until, r.batch_id, r.batch_number, r.batch_day
FROM batch_items i JOIN batches b ON b.id = i.batch_id
JOIN requests r ON r.id = i.request_id AND r.batch_id = i.batch_id
JOIN file_lines l ON l.file_id = b.file_id AND l.day = b.file_day AND l.number = i.number
WHERE i.state = 'running' AND i.request_id = ANY($1::text[])

-- name: running_since
SELECT request_id FROM batch_items
WHERE state = 'running' AND fed_at < now() - make_interval(secs => $1) AND request_id > $2 ORDER BY request_id LIMIT $3

-- name: account_runs
SELECT EXISTS (SELECT FROM batch_items WHERE account_id = $1 AND state = 'running')

-- name: line_number
SELECT number FROM file_lines WHERE file_id = $1 AND day = $2 AND custom_id = $3 ORDER BY number LIMIT 1
