-- Keys that end stop what they began, and lines stay as long as somebody was promised what is read from them.

-- A key that was rotated: which key has what it began, and since when.
ALTER TABLE api_keys ADD COLUMN successor text, ADD COLUMN rotated_at timestamptz;

-- Of keys that were there before this migration: when it was applied. Their ends stopped nothing until then, and the previous
-- release wrote no successor of those that it rotated. Later keys have none. No row is rewritten.
ALTER TABLE api_keys ADD COLUMN upgraded_at timestamptz DEFAULT now();
ALTER TABLE api_keys ALTER COLUMN upgraded_at DROP DEFAULT;

-- Why the service itself cancelled a batch. A table of its own: the previous release reads whole rows of `batches`.
CREATE TABLE batch_stops (
    batch_id   text PRIMARY KEY REFERENCES batches ON DELETE CASCADE,
    reason     text NOT NULL CHECK (reason IN ('key_revoked', 'key_expired')),
    stopped_at timestamptz NOT NULL DEFAULT now()
);

-- Whose is now what a key began at `began_at`, and why it must stop (NULL: it may go on). What was running when a key was
-- rotated is the successor's, whatever becomes of the old key; what the old key began after that is the successor's when
-- the old one's time is over, but stops with the old one when that is revoked. An unknown key stops nothing. What a key began
-- before it was upgraded goes on, unless it is revoked after that.
CREATE FUNCTION holder_of(the_key text, began_at timestamptz, OUT holder text, OUT reason text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    one record;
BEGIN
    holder := the_key;
    FOR step IN 1..1000 LOOP
        SELECT k.revoked_at, k.expires_at, k.successor, k.rotated_at, k.upgraded_at INTO one FROM api_keys k WHERE k.id = holder;
        IF NOT FOUND THEN
            RETURN;
        ELSIF one.successor IS NOT NULL AND began_at < one.rotated_at THEN
            holder := one.successor;
        ELSIF began_at < one.upgraded_at AND COALESCE(one.revoked_at <= one.upgraded_at, true) THEN
            RETURN;
        ELSIF one.revoked_at <= now() THEN
            reason := 'key_revoked';
            RETURN;
        ELSIF one.expires_at > now() OR one.expires_at IS NULL THEN
            RETURN;
        ELSIF one.successor IS NOT NULL THEN
            holder := one.successor;
        ELSE
            reason := 'key_expired';
            RETURN;
        END IF;
    END LOOP;
END $$;

-- Until when the results of a batch are readable, as it was told when the batch was made. A table of its own, for the same
-- reason; batches from before have no row, and are kept as the setting says.
CREATE TABLE batch_keeping (
    batch_id      text PRIMARY KEY REFERENCES batches ON DELETE CASCADE,
    results_until timestamptz NOT NULL
);

-- Whether somebody was promised what is read from a day of lines, items or answers: a file that has not expired (its lines), or
-- the results of a batch that is open or still kept (its lines, which may be older, its items and their answers).
CREATE FUNCTION day_is_needed(parent text, the_day date, days_kept integer) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT parent = 'file_lines'
            AND EXISTS (SELECT FROM files f WHERE f.state = 'ready' AND f.expires_at > now() AND f.day = the_day)
        OR EXISTS (
            SELECT FROM batches b LEFT JOIN batch_keeping k ON k.batch_id = b.id
            WHERE (parent = 'file_lines' AND b.file_day = the_day OR parent <> 'file_lines' AND b.day = the_day)
                AND (b.ended_at IS NULL OR COALESCE(k.results_until, b.created_at + make_interval(days => days_kept)) > now()))
$$;

-- `rotate_days` makes the partitions of the next days and drops old ones, as in 0005, but keeps days that are still needed.
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
