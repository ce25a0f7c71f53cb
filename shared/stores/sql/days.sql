-- Rows of days that had no partition lie in the default partition of their table. No partition is made for such a day later, so the
-- rows are deleted when the day would have been dropped. The caller puts in the names of the tables.

-- name: over
SELECT day FROM (SELECT DISTINCT day FROM {table}_default) d
WHERE day NOT BETWEEN (now() AT TIME ZONE 'UTC')::date - $1::integer AND (now() AT TIME ZONE 'UTC')::date + $2::integer
    AND NOT day_is_needed('{table}', day, $1)

-- name: delete
DELETE FROM {table}_default WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table}_default WHERE day = $1 LIMIT $2))
