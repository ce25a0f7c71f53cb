-- name: list
SELECT kind, name, since FROM switched_off

-- name: lock
-- Changes of the same switch run one after the other (`Lock.SWITCH`).
SELECT pg_advisory_xact_lock(7201020, hashtext($1))

-- name: off
INSERT INTO switched_off (kind, name) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING since

-- name: on
DELETE FROM switched_off WHERE kind = $1 AND name = $2 RETURNING since

-- name: forget_workers
-- Deletes the switches of processes that have ended.
DELETE FROM switched_off WHERE kind = 'worker' AND NOT name = ANY($1)
