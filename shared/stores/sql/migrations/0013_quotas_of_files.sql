-- Files count towards a quota of their account, and their lines go when nobody needs them any more, not only with their day.

-- `counted` is what a file counts towards its account's quota, in bytes: while it is sent, while it is there, and less of it
-- after that, as long as results need its lines. `look_at` is when a sweep looks at it next: a file that is being sent moves it
-- on, NULL is never, because nothing of its lines is left. Files from before, and those of the previous release, which knows
-- neither, are looked at after a day, and counted then.
ALTER TABLE files
    ADD COLUMN counted bigint NOT NULL DEFAULT 0,
    ADD COLUMN look_at timestamptz DEFAULT now() + interval '1 day';
ALTER TABLE files ADD CONSTRAINT files_count_something CHECK (counted >= 0) NOT VALID;

-- Whether an account has room for `wanted` bytes in `the_file`: `ok`, or what is used up (`files`, `bytes`, or `credit`, of which
-- a NULL does not ask), with what its other files have. Whoever asks decides alone until the end of the
-- transaction, so that no two uploads share a room: the lock comes first, and the next statement sees what others have taken.
-- Whoever has the lock is soon done, so it is waited for longer than a table's.
CREATE FUNCTION room_for(
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

-- For the rest of the transaction: among those who make batches of an account, and nobody else, because counting the lines of a large
-- file must not keep the account waiting. It is waited for longer than a table's lock, too.
CREATE FUNCTION lock_batches_of(the_account text) RETURNS void LANGUAGE plpgsql SET lock_timeout = '3s' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7201200, hashtext(the_account));
END $$;

-- Until when batches over a file need its lines: while one is open, for good, then as long as its results are kept; NULL when
-- none does.
CREATE FUNCTION lines_needed_until(the_file text, days_kept integer) RETURNS timestamptz
LANGUAGE sql STABLE SET enable_seqscan = off AS $$
    SELECT max(until) FROM (
        SELECT CASE WHEN b.ended_at IS NULL THEN 'infinity'
            ELSE COALESCE(k.results_until, b.created_at + make_interval(days => days_kept)) END AS until
        FROM batches b LEFT JOIN batch_keeping k ON k.batch_id = b.id WHERE b.file_id = the_file
    ) batches_of WHERE until > now()
$$;

-- Delete a file, unless an open batch needs it: then, and when there is none, false. Its room is free at once but for
-- `bytes_per_line` where results are kept; a sweep sees to its lines. Whoever makes a batch over the file has it locked
-- (`lock_file`), so the lock comes first here, too, and the next statement sees the batch.
CREATE FUNCTION delete_file(the_file text, the_account text, days_kept integer, bytes_per_line bigint) RETURNS boolean
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
