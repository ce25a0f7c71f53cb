-- name: in_the_way
-- The sessions that hold what the session $1 waits for. Postgres may show little more than the number of other users' sessions;
-- a session without any user is an autovacuum. A prepared transaction has the number 0.
SELECT b.pid, COALESCE(a.application_name, '') AS application,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS running_s,
    CASE WHEN a.backend_type = 'autovacuum worker' OR a.backend_type IS NULL AND a.usesysid IS NULL AND a.pid IS NOT NULL THEN COALESCE((
        SELECT min(c.relname) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relkind = 'r'
        WHERE l.pid = b.pid AND l.granted AND l.mode = 'ShareUpdateExclusiveLock'), 'a table') END AS vacuumed
FROM (SELECT DISTINCT unnest(pg_blocking_pids($1)) AS pid) b LEFT JOIN pg_stat_activity a ON a.pid = b.pid
ORDER BY a.xact_start, b.pid

-- name: cancel_autovacuum
-- Cancel the autovacuums that the session $1 waits for. They start again by themselves. An autovacuum against the wraparound of
-- transaction numbers is left running.
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE pid = ANY (pg_blocking_pids($1)) AND backend_type = 'autovacuum worker' AND query NOT LIKE '%(to prevent wraparound)%'
