-- Batches in the form of Anthropic's API, and batches that were deleted.

-- The lines of such a batch are a file as well. What was there has one of the two other forms, so that nothing is looked through.
ALTER TABLE files
    DROP CONSTRAINT files_form_check,
    ADD CONSTRAINT files_form_check CHECK (form IN ('native', 'openai', 'anthropic')) NOT VALID;

ALTER TABLE batches
    DROP CONSTRAINT batches_form_check,
    ADD CONSTRAINT batches_form_check CHECK (form IN ('native', 'openai', 'anthropic')) NOT VALID;

-- Batches that their owners have deleted: nobody sees one from then on, and its answers were erased before.
CREATE TABLE batch_deletions (
    batch_id   text PRIMARY KEY REFERENCES batches ON DELETE CASCADE,
    deleted_at timestamptz NOT NULL DEFAULT now()
);

-- Until when results need a file's lines, `infinity` while a batch over it is open; those of a batch that was deleted need none.
CREATE OR REPLACE FUNCTION lines_needed_until(the_file text, days_kept integer) RETURNS timestamptz
LANGUAGE sql STABLE SET enable_seqscan = off AS $$
    SELECT max(until) FROM (
        SELECT CASE WHEN b.ended_at IS NULL THEN 'infinity'
            ELSE COALESCE(k.results_until, b.created_at + make_interval(days => days_kept)) END AS until
        FROM batches b LEFT JOIN batch_keeping k ON k.batch_id = b.id WHERE b.file_id = the_file
            AND NOT EXISTS (SELECT FROM batch_deletions d WHERE d.batch_id = b.id)
    ) batches_of WHERE until > now()
$$;
