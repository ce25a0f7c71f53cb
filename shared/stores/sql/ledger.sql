-- name: reserve
SELECT request_id, outcome, granted_limit, granted_hold, needed, available, existing_id FROM reserve($1::jsonb, $2)

-- name: reserve_and_keep
-- Reserve, and store the responses of some of these requests: $3 ids, $4 accounts, $5 previous requests or NULL, $6 whether
-- they are cancelled when their caller goes away, $7 the fields that the answer repeats, $8 inputs ($7 and $8 are both empty
-- when they were stored before, see `responses.sql`), $9 the bytes that each counts until it ends, $10 how long each is kept.
-- An account may keep $11 bytes; a request without room is not admitted, and its outcome is `room`. The bytes that are taken
-- are read after the account has been locked, so that two requests cannot both take the last room. The only exception are the
-- very first responses of an account: several front doors may admit those at once, because there is no row to lock yet.
WITH given AS MATERIALIZED (
    SELECT g.*, sum(g.size) OVER (PARTITION BY g.account_id ORDER BY g.position)::bigint AS with_those_before
    FROM unnest($3::text[], $4::text[], $5::text[], $6::boolean[], $7::bytea[], $8::bytea[], $9::bigint[], $10::timestamptz[])
        WITH ORDINALITY AS g(id, account_id, previous_id, attended, told, input, size, keep_until, position)
), locked AS MATERIALIZED (
    SELECT a.id FROM accounts a
    WHERE a.id IN (SELECT e.row->>'account_id' FROM jsonb_array_elements($1::jsonb) AS e(row)) ORDER BY a.id FOR UPDATE
), room AS MATERIALIZED (
    SELECT m.account_id, m.bytes FROM response_room m WHERE m.account_id IN (SELECT id FROM locked) FOR UPDATE
), without_room AS MATERIALIZED (
    SELECT g.id, g.size, $11::bigint - COALESCE(m.bytes, 0) - g.with_those_before + g.size AS left_over
    FROM given g LEFT JOIN room m ON m.account_id = g.account_id
    WHERE COALESCE(m.bytes, 0) + g.with_those_before > $11::bigint
), answered AS MATERIALIZED (
    SELECT r.request_id, r.outcome, r.granted_limit, r.granted_hold, r.needed, r.available, r.existing_id
    FROM reserve((
        SELECT COALESCE(jsonb_agg(e.row ORDER BY e.position), '[]')
        FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS e(row, position)
        WHERE e.row->>'id' NOT IN (SELECT id FROM without_room)), $2) r
), kept AS (
    INSERT INTO responses AS p (request_id, account_id, previous_id, attended, told, input, bytes, keep_until)
    SELECT g.id, g.account_id, g.previous_id, g.attended, g.told, g.input, g.size, g.keep_until
    FROM given g JOIN answered a ON a.request_id = g.id AND a.outcome = 'admitted'
    ON CONFLICT (request_id) DO UPDATE SET bytes = EXCLUDED.bytes, keep_until = EXCLUDED.keep_until
    RETURNING p.account_id, p.bytes
), counted AS (
    INSERT INTO response_room AS m (account_id, bytes)
    SELECT account_id, sum(bytes) FROM kept GROUP BY account_id ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE SET bytes = m.bytes + EXCLUDED.bytes
)
SELECT request_id, outcome, granted_limit, granted_hold, needed, available, existing_id FROM answered
UNION ALL
SELECT id, 'room', 0, 0, size, left_over, NULL FROM without_room

-- name: settle_and_keep
-- Settle, and store the answers ($2 requests, $3 answers, $4 how long they are kept, $5 $6 $7 the line of a batch or NULL) in
-- the same transaction. Only answers of holds that end in it are stored: the answer of a batch's line with the batch, and no
-- answer of a response that its owner has deleted. From then on a response counts as many bytes as it has. Its row is locked,
-- so that a deletion comes either before this transaction or after it, and is seen.
WITH settled AS MATERIALIZED (
    SELECT request_id, outcome, charged FROM settle_served($1::jsonb)
), given AS MATERIALIZED (
    SELECT a.* FROM unnest($2::text[], $3::bytea[], $4::timestamptz[], $5::date[], $6::text[], $7::integer[])
        AS a(request_id, answer, keep_until, day, batch_id, number)
    JOIN settled s ON s.request_id = a.request_id AND s.outcome = 'settled'
), ended AS MATERIALIZED (
    SELECT p.request_id, p.account_id, p.forgotten, p.bytes, octet_length(p.told) + octet_length(p.input) AS asked_bytes
    FROM responses p WHERE p.request_id IN (SELECT s.request_id FROM settled s WHERE s.outcome = 'settled') FOR UPDATE
), sized AS MATERIALIZED (
    SELECT e.request_id, e.account_id, e.bytes, e.asked_bytes + COALESCE(octet_length(g.answer), 0) AS now_bytes
    FROM ended e LEFT JOIN given g ON g.request_id = e.request_id WHERE NOT e.forgotten
), counted AS (
    UPDATE responses p SET bytes = z.now_bytes FROM sized z WHERE p.request_id = z.request_id
), taken AS (
    UPDATE response_room m SET bytes = m.bytes + z.more
    FROM (SELECT account_id, sum(now_bytes - bytes)::bigint AS more FROM sized GROUP BY account_id) z WHERE m.account_id = z.account_id
), kept AS (
    INSERT INTO answers (request_id, answer, keep_until)
    SELECT g.request_id, g.answer, g.keep_until FROM given g
    WHERE g.batch_id IS NULL AND NOT EXISTS (SELECT FROM ended e WHERE e.request_id = g.request_id AND e.forgotten)
    ON CONFLICT DO NOTHING
), kept_with_batch AS (
    INSERT INTO batch_answers (day, batch_id, number, answer)
    SELECT day, batch_id, number, answer FROM given WHERE batch_id IS NOT NULL
)
SELECT request_id, outcome, charged FROM settled

-- name: quarantine
INSERT INTO quarantine (request_id, settlement, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: hold_states
-- Each hold is read by its primary key, however many are asked for.
SELECT g.id, (SELECT r.hold_state FROM requests r WHERE r.id = g.id AND r.created_at = g.created_at) AS hold_state
FROM unnest($1::text[], $2::timestamptz[]) AS g(id, created_at)

-- name: expired_holds
SELECT id, created_at, account_id, provider, lane FROM requests
WHERE ended_at IS NULL AND expires_at < now() AND id NOT IN (SELECT request_id FROM quarantine)
ORDER BY expires_at LIMIT $1

-- name: try_sweep_lock
SELECT pg_try_advisory_xact_lock($1)

-- name: ensure_partitions
SELECT ensure_partitions($1)

-- name: rotate_days
SELECT rotate_days($1, $2)
