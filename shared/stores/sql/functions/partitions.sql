-- Revision 1.

-- Make the monthly partitions of this month and the following ones; what exists stays as it is. A month that has rows in
-- the default partition already stays there.
CREATE OR REPLACE FUNCTION ensure_partitions(months_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    partition text;
    first_moment text;
    last_moment text;
    late boolean;
    made integer := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['requests', 'ledger'] LOOP
        FOR step IN 0..months_ahead LOOP
            partition := parent || to_char(now() AT TIME ZONE 'UTC' + make_interval(months => step), '_YYYY_MM');
            first_moment := to_char(now() AT TIME ZONE 'UTC' + make_interval(months => step), 'YYYY-MM-01 00:00+00');
            last_moment := to_char(now() AT TIME ZONE 'UTC' + make_interval(months => step + 1), 'YYYY-MM-01 00:00+00');
            CONTINUE WHEN to_regclass(partition) IS NOT NULL;
            EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE created_at >= %L AND created_at < %L)',
                parent || '_default', first_moment, last_moment) INTO late;
            CONTINUE WHEN late;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                partition, parent, first_moment, last_moment);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- Whether somebody was promised what is read from a day of lines, items or answers: a file that has not expired (its lines), or
-- the results of a batch that is open or still kept (its lines, which may be older, its items and their answers).
CREATE OR REPLACE FUNCTION day_is_needed(parent text, the_day date, days_kept integer) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT parent = 'file_lines'
            AND EXISTS (SELECT FROM files f WHERE f.state = 'ready' AND f.expires_at > now() AND f.day = the_day)
        OR EXISTS (
            SELECT FROM batches b LEFT JOIN batch_keeping k ON k.batch_id = b.id
            WHERE (parent = 'file_lines' AND b.file_day = the_day OR parent <> 'file_lines' AND b.day = the_day)
                AND (b.ended_at IS NULL OR COALESCE(k.results_until, b.created_at + make_interval(days => days_kept)) > now()))
$$;

-- Make the daily partitions of today and the following days, and drop those of more than `days_kept` days ago, except days
-- that are still needed.
CREATE OR REPLACE FUNCTION rotate_days(days_ahead integer, days_kept integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    partition text;
    one date;
    today date := (now() AT TIME ZONE 'UTC')::date;
    late boolean;
    changed integer := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['file_lines', 'batch_items', 'batch_answers'] LOOP
        FOR step IN 0..days_ahead LOOP
            one := today + step;
            partition := parent || to_char(one, '_YYYY_MM_DD');
            CONTINUE WHEN to_regclass(partition) IS NOT NULL;
            EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE day = %L)', parent || '_default', one) INTO late;
            CONTINUE WHEN late;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', partition, parent, one, one + 1);
            changed := changed + 1;
        END LOOP;
        FOR partition, one IN
            SELECT c.relname, to_date(right(c.relname, 10), 'YYYY_MM_DD')
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = parent::regclass AND c.relname ~ '_\d{4}_\d{2}_\d{2}$'
                AND to_date(right(c.relname, 10), 'YYYY_MM_DD') < today - days_kept
        LOOP
            CONTINUE WHEN day_is_needed(parent, one, days_kept);
            EXECUTE format('DROP TABLE %I', partition);
            changed := changed + 1;
        END LOOP;
    END LOOP;
    RETURN changed;
END $$;
