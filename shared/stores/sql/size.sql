-- name: tables
-- Every table and every partition, whose name ends with its month or day. `estimated` is the number of rows as Postgres last
-- counted them, NULL for tables below $1 bytes or never counted; `counts` counts those now.
SELECT COALESCE(parent.relname, t.relname) AS table,
    replace(substring(t.relname FROM '_(\d{4}_\d{2})(?:_\d{2})?$'), '_', '-') AS month,
    pg_total_relation_size(t.oid) AS bytes,
    CASE WHEN pg_relation_size(t.oid) >= $1 AND t.reltuples >= 0 THEN t.reltuples::bigint END AS estimated,
    format('SELECT count(*) FROM %s', t.oid::regclass) AS counts
FROM pg_class t
LEFT JOIN pg_inherits i ON i.inhrelid = t.oid
LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE t.relkind = 'r' AND t.relnamespace = current_schema()::regnamespace
ORDER BY 1, 2
