-- Revision 3.

-- Feed lines of one batch through `the_feed` to its queue: hold credit for them and make items of them, in one transaction. `lines`
-- has them in the order of their numbers, each a reservation, or a line that cannot be run. Such a line has an `error_code` and an
-- `error_message` and no request; it becomes an item that has failed, holds nothing, and does not count as in flight.
-- The longest beginning of `lines` is taken that keeps within these limits: what is free of the balance; `balance_share` of the
-- balance for all batches of the account together; the limit of the batch's key; and the requests that the account may have in
-- flight (`in_flight_max`), of which `in_flight_kept` are left for interactive ones. Nothing is taken if the batch is not in
-- progress, or if another feeder came first (`fed_to` is no longer `after_number`, or is locked). The account is locked first, as
-- everywhere.
-- Each row of the answer is an admitted request, but the last one has none: its outcome says why no more lines were taken (`done`,
-- `credit`, `key_limit`, `in_flight`, `not_now`), and `needed` is the hold of the next line.
DROP FUNCTION IF EXISTS feed(text, text, integer, jsonb, integer, integer, numeric); -- parameters cannot be renamed otherwise
CREATE OR REPLACE FUNCTION feed(
    the_batch text, the_feed text, after_number integer, lines jsonb, in_flight_max integer, in_flight_kept integer, balance_share numeric)
RETURNS TABLE (request_id text, outcome text, granted_hold bigint, needed bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    owner record;
    line record;
    admission record;
    chosen jsonb;
    budget bigint;
    in_flight_left integer;
    key_left bigint;
    holds bigint := 0;
    taken integer := 0;
    failed_lines integer := 0;
    last_number integer;
    stopped_by text := 'done';
    next_hold bigint;
BEGIN
    SELECT a.id, a.balance_nano, a.held_nano, a.in_flight INTO owner
    FROM accounts a WHERE a.id = (SELECT b.account_id FROM batches b WHERE b.id = the_batch) FOR UPDATE;
    PERFORM 1 FROM batches b JOIN batch_cursors c ON c.batch_id = b.id AND c.provider = the_feed
    WHERE b.id = the_batch AND b.state = 'in_progress' AND c.fed_to = after_number
    FOR NO KEY UPDATE OF b, c SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, 'not_now', 0::bigint, 0::bigint;
        RETURN;
    END IF;

    SELECT LEAST(
        owner.balance_nano - owner.held_nano,
        trunc(owner.balance_nano * balance_share)::bigint - COALESCE(sum(i.hold_nano), 0)::bigint)
    INTO budget FROM batch_items i WHERE i.account_id = owner.id AND i.state = 'running';
    in_flight_left := in_flight_max - in_flight_kept - owner.in_flight;
    SELECT k.limit_nano - k.used_nano INTO key_left
    FROM api_keys k WHERE k.id = lines->0->>'key_id' AND k.limit_nano IS NOT NULL;

    FOR line IN
        SELECT (element->>'batch_number')::integer AS number, element->>'error_code' AS error_code, hold_of(element) AS hold
        FROM jsonb_array_elements(lines) WITH ORDINALITY AS e(element, position) ORDER BY position
    LOOP
        next_hold := line.hold;
        IF line.error_code IS NOT NULL THEN
            failed_lines := failed_lines + 1;
        ELSIF taken - failed_lines >= in_flight_left THEN
            stopped_by := 'in_flight';
        ELSIF holds + line.hold > budget THEN
            stopped_by := 'credit';
        ELSIF holds + line.hold > key_left THEN
            stopped_by := 'key_limit';
        END IF;
        EXIT WHEN stopped_by <> 'done';
        holds := holds + COALESCE(line.hold, 0);
        taken := taken + 1;
        last_number := line.number;
    END LOOP;

    IF taken > 0 THEN
        chosen := (SELECT jsonb_agg(element ORDER BY position)
            FROM jsonb_array_elements(lines) WITH ORDINALITY AS e(element, position)
            WHERE position <= taken AND element->>'error_code' IS NULL);
        FOR admission IN SELECT * FROM reserve(COALESCE(chosen, '[]'), in_flight_max) LOOP
            IF admission.outcome <> 'admitted' THEN
                RAISE EXCEPTION 'a line that was found affordable was refused: %', admission.outcome;
            END IF;
            request_id := admission.request_id;
            outcome := admission.outcome;
            granted_hold := admission.granted_hold;
            needed := admission.needed;
            RETURN NEXT;
        END LOOP;
        INSERT INTO batch_items (
            day, batch_id, number, account_id, provider, model, request_id, hold_nano, bytes, fed_at, state, error_code, error_message)
        SELECT (element->>'batch_day')::date, the_batch, (element->>'batch_number')::integer, owner.id, the_feed, element->>'model',
            element->>'id', COALESCE(hold_of(element), 0), (element->>'batch_bytes')::integer, now(),
            CASE WHEN element->>'error_code' IS NULL THEN 'running' ELSE 'failed' END, element->>'error_code', element->>'error_message'
        FROM jsonb_array_elements(lines) WITH ORDINALITY AS e(element, position) WHERE position <= taken;
        UPDATE batch_cursors c SET fed_to = last_number, left_over = c.left_over - taken
        WHERE c.batch_id = the_batch AND c.provider = the_feed;
        UPDATE batches b SET fed = b.fed + taken, failed = b.failed + failed_lines WHERE b.id = the_batch;
    END IF;
    RETURN QUERY SELECT NULL::text, stopped_by, 0::bigint, CASE WHEN stopped_by = 'done' THEN 0 ELSE next_hold END;
END $$;

-- Trigger of `batch_cursors`: the cursor of a batch that is in progress and has lines left has a turn (`turn_of` is its account).
CREATE OR REPLACE FUNCTION give_turn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.turn_of := (
        SELECT b.account_id FROM batches b WHERE b.id = NEW.batch_id AND b.state = 'in_progress' AND NEW.left_over > 0);
    RETURN NEW;
END $$;

-- Trigger of `batches`: when the state of a batch changes, its cursors lose or get their turns.
CREATE OR REPLACE FUNCTION turns_follow_states() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    UPDATE batch_cursors SET turn_of = NULL WHERE batch_id = NEW.id; -- which `give_turn` corrects
    RETURN NULL;
END $$;

-- Trigger of `requests`: when requests of batches end, end their items, and add to the counts and sums of their batches. It is a
-- trigger so that no statement that ends a hold can miss it.
CREATE OR REPLACE FUNCTION count_batches() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off SET jit = off AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM rows_after WHERE batch_id IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    WITH ended AS (
        SELECT a.id, a.batch_id, a.batch_number, a.batch_day, a.error_code, a.error_message, a.charged_nano, a.saved_nano,
            CASE WHEN a.state = 'succeeded' THEN 'completed' WHEN a.state = 'cancelled' THEN 'cancelled'
                WHEN a.error_code = 'expired' THEN 'expired' ELSE 'failed' END AS state
        FROM rows_after a WHERE a.batch_id IS NOT NULL AND a.ended_at IS NOT NULL
    ), items AS (
        UPDATE batch_items i SET state = e.state, error_code = e.error_code, error_message = e.error_message
        FROM ended e
        WHERE i.batch_id = e.batch_id AND i.number = e.batch_number AND i.day = e.batch_day AND i.request_id = e.id AND i.state = 'running'
        RETURNING i.batch_id, i.state, e.charged_nano, e.saved_nano
    ), sums AS (
        SELECT i.batch_id, count(*) FILTER (WHERE i.state = 'completed') AS completed, count(*) FILTER (WHERE i.state = 'failed') AS failed,
            count(*) FILTER (WHERE i.state = 'cancelled') AS cancelled, count(*) FILTER (WHERE i.state = 'expired') AS expired,
            sum(i.charged_nano)::bigint AS charged, sum(i.saved_nano)::bigint AS saved
        FROM items i GROUP BY i.batch_id
    ), savings AS (
        INSERT INTO batch_savings AS v (batch_id, saved_nano)
        SELECT s.batch_id, s.saved FROM sums s WHERE s.saved IS NOT NULL
        ON CONFLICT (batch_id) DO UPDATE SET saved_nano = v.saved_nano + EXCLUDED.saved_nano
    )
    UPDATE batches b SET
        completed = b.completed + sums.completed, failed = b.failed + sums.failed, cancelled = b.cancelled + sums.cancelled,
        expired = b.expired + sums.expired, charged_nano = b.charged_nano + sums.charged
    FROM sums WHERE b.id = sums.batch_id;
    RETURN NULL;
END $$;
