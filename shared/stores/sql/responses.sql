-- name: write_large_input
-- Store a large input before its request is admitted, so that nobody waits for the lock of the account meanwhile. It counts
-- from the time the request is admitted. Nothing is written where there is no room for it.
INSERT INTO responses (request_id, account_id, previous_id, attended, told, input, bytes, keep_until)
SELECT $1, $2, $3, $4, $5, $6, 0, now() + make_interval(secs => $7)
WHERE COALESCE((SELECT bytes FROM response_room WHERE account_id = $2), 0) + $8 <= $9

-- name: room_taken
SELECT bytes FROM response_room WHERE account_id = $1

-- name: told
SELECT told FROM responses WHERE request_id = $1 AND account_id = $2 AND NOT forgotten AND keep_until > now()

-- name: input_bytes
SELECT octet_length(input) FROM responses WHERE request_id = $1 AND account_id = $2 AND NOT forgotten AND keep_until > now()

-- name: input
SELECT input FROM responses WHERE request_id = $1 AND account_id = $2 AND NOT forgotten AND keep_until > now()

-- name: lock_to_forget
-- With this lock whoever settles the response has done so, or waits: `forget`, in the same transaction, sees an answer that was
-- kept meanwhile.
SELECT 1 FROM responses WHERE request_id = $1 AND account_id = $2 AND NOT forgotten AND keep_until > now() FOR UPDATE

-- name: forget
-- A request that runs goes on, but its answer is not kept (`settle_and_keep`).
WITH found AS MATERIALIZED (
    SELECT request_id, bytes FROM responses WHERE request_id = $1 AND account_id = $2 AND NOT forgotten FOR UPDATE
), gone AS (
    UPDATE responses p SET forgotten = true, told = '', input = '', bytes = 0 FROM found f WHERE p.request_id = f.request_id
), unanswered AS (
    DELETE FROM answers a USING found f WHERE a.request_id = f.request_id
)
UPDATE response_room m SET bytes = m.bytes - f.bytes FROM found f WHERE m.account_id = $2

-- name: conversation
-- From request $1 back through the requests that it goes on from, at most $3 of them; each with its size, including the answer.
-- When the last row has a `previous_id`, the beginning of the conversation has been deleted, or lies beyond $3.
WITH RECURSIVE conversation AS (
    SELECT p.request_id, p.previous_id, 1 AS place, octet_length(p.input) + octet_length(p.told) AS size FROM responses p
    WHERE p.request_id = $1 AND p.account_id = $2 AND NOT p.forgotten AND p.keep_until > now()
    UNION ALL
    SELECT p.request_id, p.previous_id, c.place + 1, octet_length(p.input) + octet_length(p.told)
    FROM conversation c JOIN responses p ON p.request_id = c.previous_id
    WHERE c.place < $3 AND p.account_id = $2 AND NOT p.forgotten AND p.keep_until > now()
)
SELECT c.request_id, c.previous_id, c.size + COALESCE(octet_length(a.answer), 0) AS size
FROM conversation c LEFT JOIN answers a ON a.request_id = c.request_id ORDER BY c.place

-- name: sizes
-- The sizes of single responses, counted as in `conversation`.
SELECT p.request_id, octet_length(p.input) + octet_length(p.told) + COALESCE(octet_length(a.answer), 0) AS size
FROM responses p LEFT JOIN answers a ON a.request_id = p.request_id
WHERE p.request_id = ANY($1::text[]) AND p.account_id = $2 AND NOT p.forgotten AND p.keep_until > now()

-- name: conversation_parts
-- Requests and answers of the given responses ($2: when they were made, as their ids say), in the given order.
SELECT p.request_id, p.told, p.input, a.answer, r.state
FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS g(id, created_at, place)
JOIN responses p ON p.request_id = g.id
JOIN requests r ON r.id = g.id AND r.created_at = g.created_at
LEFT JOIN answers a ON a.request_id = g.id
ORDER BY g.place
