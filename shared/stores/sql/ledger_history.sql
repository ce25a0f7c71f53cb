-- name: page
-- The newest $4 transfers of the account $1 before the time $2 and the id $3. What the account paid is negative.
SELECT id, created_at, amount_nano, kind, request_id, ref FROM (
    (SELECT id, created_at, -amount_nano AS amount_nano, kind, request_id, ref FROM ledger
    WHERE debit_account = $1 AND created_at <= $2 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4)
    UNION ALL
    (SELECT id, created_at, amount_nano, kind, request_id, ref FROM ledger
    WHERE credit_account = $1 AND created_at <= $2 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4)
) both_sides ORDER BY created_at DESC, id DESC LIMIT $4
