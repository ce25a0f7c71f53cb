-- name: create
INSERT INTO accounts (id, name) VALUES ($1, $2)

-- name: credit
SELECT credit($1, $2, $3, $4)

-- name: find
SELECT id, name, balance_nano, held_nano FROM accounts WHERE id = $1

-- name: list
-- The ids are sorted by the time at which they were made.
SELECT id, name, balance_nano, held_nano FROM accounts WHERE id > $1 ORDER BY id LIMIT $2

-- name: lock
SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE

-- name: credited
SELECT amount_nano FROM credit_refs WHERE account_id = $1 AND ref = $2
