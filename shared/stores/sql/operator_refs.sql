-- name: lock
-- Two requests with the same `ref` run one after the other (`Lock.OPERATOR_REF`).
SELECT pg_advisory_xact_lock(7201021, hashtext($1))

-- name: find
SELECT fingerprint, answer, salt FROM operator_refs WHERE operator = $1 AND ref = $2

-- name: keep
INSERT INTO operator_refs (operator, ref, fingerprint, answer, salt) VALUES ($1, $2, $3, $4, $5)

-- name: forget_salts
-- With a salt and a token the same keys can be made again, for a caller that did not hear the answer. A day is long enough for
-- that.
UPDATE operator_refs SET salt = NULL WHERE salt IS NOT NULL AND created_at <= now() - interval '1 day'
