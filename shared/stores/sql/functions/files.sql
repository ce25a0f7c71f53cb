-- Revision 2.

-- Whether the account's quota has room for `the_file` with `wanted` bytes. `outcome` is `ok`, or the limit that it would exceed:
-- `files`, `bytes`, or `credit` (not asked if `bytes_free` is NULL). `files_there` and `bytes_there` count its other files. The account
-- is locked until the end of the transaction, so that no two uploads take the same bytes; the statement after the lock sees what
-- others have taken. A holder of this lock is soon done, so the wait for it is longer than that for a table's lock.
CREATE OR REPLACE FUNCTION room_for(
    the_account text, the_file text, wanted bigint, files_max integer, bytes_max bigint, bytes_free bigint, bytes_per_usd bigint,
    OUT outcome text, OUT files_there bigint, OUT bytes_there bigint, OUT balance bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET lock_timeout = '3s' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7201201, hashtext(the_account));
    SELECT count(*) FILTER (WHERE f.state <> 'deleted'), COALESCE(sum(f.counted), 0) INTO files_there, bytes_there
    FROM files f WHERE f.account_id = the_account AND f.counted > 0 AND f.id <> the_file;
    SELECT a.balance_nano INTO balance FROM accounts a WHERE a.id = the_account;
    outcome := CASE
        WHEN files_there >= files_max THEN 'files'
        WHEN bytes_there + wanted > bytes_max THEN 'bytes'
        WHEN bytes_there + wanted > bytes_free + trunc(balance::numeric * bytes_per_usd / 1000000000) THEN 'credit'
        ELSE 'ok' END;
END $$;

-- Lock the creation of batches of an account for the rest of the transaction. It is a lock of its own, because counting the lines of
-- a large file takes long, and other work of the account does not wait for it. The wait is longer than that for a table's lock.
CREATE OR REPLACE FUNCTION lock_batches_of(the_account text) RETURNS void LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7201200, hashtext(the_account));
END $$;

-- The time until which the results of a file's batches need its lines: `infinity` while one of the batches is open, NULL if no batch
-- needs them. A batch that its owner has deleted needs none.
CREATE OR REPLACE FUNCTION lines_needed_until(the_file text, days_kept integer) RETURNS timestamptz
LANGUAGE sql STABLE SET enable_seqscan = off AS $$
    SELECT max(until) FROM (
        SELECT CASE WHEN b.ended_at IS NULL THEN 'infinity'
            ELSE COALESCE(k.results_until, b.created_at + make_interval(days => days_kept)) END AS until
        FROM batches b LEFT JOIN batch_keeping k ON k.batch_id = b.id WHERE b.file_id = the_file
            AND NOT EXISTS (SELECT FROM batch_deletions d WHERE d.batch_id = b.id)
    ) batches_of WHERE until > now()
$$;

-- Delete a file; false if an open batch needs it, or if there is no such file. From now on it counts nothing, or `bytes_per_line` for
-- each line while results need them; a sweep deletes the lines. The creation of a batch locks the file (`lock_file`), so it is locked
-- here, too, before the statement that looks for its batches.
CREATE OR REPLACE FUNCTION delete_file(the_file text, the_account text, days_kept integer, bytes_per_line bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    needed_until timestamptz;
BEGIN
    PERFORM 1 FROM files f WHERE f.id = the_file AND f.account_id = the_account AND f.state = 'ready' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    needed_until := lines_needed_until(the_file, days_kept);
    IF needed_until = 'infinity' THEN
        RETURN false;
    END IF;
    UPDATE files f SET state = 'deleted', look_at = now(),
        counted = CASE WHEN needed_until IS NULL THEN 0 ELSE LEAST(f.counted, f.lines * bytes_per_line) END
    WHERE f.id = the_file;
    RETURN true;
END $$;
