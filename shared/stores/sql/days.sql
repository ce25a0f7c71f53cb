-- Rows of days that had no partition lie in the default one of their table. Nobody makes a day of them later, so that they are
-- deleted when the day would have been dropped. The names of the tables are put in.

-- name: over
SELECT day FROM (SELECT DISTINCT day FROM {table}_default) d
WHERE day NOT BETWEEN (now() AT TIME ZONE 'UTC')::date - $1::integer AND (now() AT TIME ZONE 'UTC')::date + $2::integer
    AND NOT day_is_needed('{table}', day, $1)

-- name: delete
DELETE FROM {table}_default WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table}_default WHERE day = $1 LIMIT $2))
