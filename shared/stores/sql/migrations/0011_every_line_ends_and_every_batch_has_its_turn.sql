-- A line that cannot be run fails without having been a request, and every open batch has its turn.

-- The item of a line that failed before it was fed has no request.
ALTER TABLE batch_items ALTER COLUMN request_id DROP NOT NULL;

-- `feed` as in 0006, with one more case: a line that cannot be run for a reason of its own comes with an `error_code` and an
-- `error_message` and without a request. In its place it becomes an item that has failed. It holds nothing, needs no room, and
-- its batch goes on.
-- Feed lines of one batch and provider to the queue: hold credit for them and make them items, in one transaction. `lines`
-- are reservations, or lines that cannot be run, in the order of their numbers; the longest beginning of them is taken that the
-- account can afford within `share` of its balance for all its batches, that the key's limit allows, and that leaves `room_kept`
-- of what the account may have in flight to its interactive requests. Nothing is taken when the batch is not in progress, or when
-- another feeder was there first (`fed_to` is not `after_number` any more, or locked). The account is locked first, as
-- everywhere. The last row of the answer has no request: its outcome is why no more were taken (`done`, `credit`,
-- `key_limit`, `in_flight`, `not_now`), `needed` what the next line would hold.
CREATE OR REPLACE FUNCTION feed(
    the_batch text, the_provider text, after_number integer, lines jsonb, in_flight_max integer, room_kept integer, share numeric)
RETURNS TABLE (request_id text, outcome text, granted_hold bigint, needed bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    owner record;
    one record;
    admission record;
    chosen jsonb;
    budget bigint;
    room integer;
    key_left bigint;
    total bigint := 0;
    taken integer := 0;
    failing integer := 0;
    last_number integer;
    why text := 'done';
    next_hold bigint;
BEGIN
    SELECT a.id, a.balance_nano, a.held_nano, a.in_flight INTO owner
    FROM accounts a WHERE a.id = (SELECT b.account_id FROM batches b WHERE b.id = the_batch) FOR UPDATE;
    PERFORM 1 FROM batches b JOIN batch_cursors c ON c.batch_id = b.id AND c.provider = the_provider
    WHERE b.id = the_batch AND b.state = 'in_progress' AND c.fed_to = after_number
    FOR NO KEY UPDATE OF b, c SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN QUERY SELECT NULL::text, 'not_now', 0::bigint, 0::bigint;
        RETURN;
    END IF;

    SELECT LEAST(owner.balance_nano - owner.held_nano, trunc(owner.balance_nano * share)::bigint - COALESCE(sum(i.hold_nano), 0)::bigint)
    INTO budget FROM batch_items i WHERE i.account_id = owner.id AND i.state = 'running';
    room := in_flight_max - room_kept - owner.in_flight;
    SELECT k.limit_nano - k.used_nano INTO key_left
    FROM api_keys k WHERE k.id = lines->0->>'key_id' AND k.limit_nano IS NOT NULL;

    FOR one IN
        SELECT l.number, l.error_code, div_up(l.input_bound * l.input_price + l.output_limit * l.output_price) AS hold
        FROM ROWS FROM (jsonb_to_recordset(lines) AS (
            batch_number integer, error_code text, input_bound bigint, input_price bigint, output_limit bigint, output_price bigint
        )) WITH ORDINALITY AS l(number, error_code, input_bound, input_price, output_limit, output_price, position) ORDER BY l.position
    LOOP
        next_hold := one.hold;
        IF one.error_code IS NOT NULL THEN
            failing := failing + 1;
        ELSIF taken - failing >= room THEN
            why := 'in_flight';
        ELSIF total + one.hold > budget THEN
            why := 'credit';
        ELSIF total + one.hold > key_left THEN
            why := 'key_limit';
        END IF;
        EXIT WHEN why <> 'done';
        total := total + COALESCE(one.hold, 0);
        taken := taken + 1;
        last_number := one.number;
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
        SELECT (element->>'batch_day')::date, the_batch, (element->>'batch_number')::integer, owner.id, the_provider, element->>'model',
            element->>'id', COALESCE(div_up((element->>'input_bound')::bigint * (element->>'input_price')::bigint
                + (element->>'output_limit')::bigint * (element->>'output_price')::bigint), 0),
            (element->>'batch_bytes')::integer, now(),
            CASE WHEN element->>'error_code' IS NULL THEN 'running' ELSE 'failed' END, element->>'error_code', element->>'error_message'
        FROM jsonb_array_elements(lines) WITH ORDINALITY AS e(element, position) WHERE position <= taken;
        UPDATE batch_cursors c SET fed_to = last_number, left_over = c.left_over - taken
        WHERE c.batch_id = the_batch AND c.provider = the_provider;
        UPDATE batches b SET fed = b.fed + taken, failed = b.failed + failing WHERE b.id = the_batch;
    END IF;
    RETURN QUERY SELECT NULL::text, why, 0::bigint, CASE WHEN why = 'done' THEN 0 ELSE next_hold END;
END $$;

-- In whose turns lines of this cursor are fed: its account's, NULL while nothing of it may be fed. An index over it leads from
-- account to account without a look at what has ended or is paused. Kept by triggers, because the previous release writes
-- cursors and states, too.
ALTER TABLE batch_cursors ADD COLUMN turn_of text;

CREATE FUNCTION give_turn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.turn_of := (
        SELECT b.account_id FROM batches b WHERE b.id = NEW.batch_id AND b.state = 'in_progress' AND NEW.left_over > 0);
    RETURN NEW;
END $$;

CREATE TRIGGER cursors_have_turns BEFORE INSERT OR UPDATE ON batch_cursors FOR EACH ROW EXECUTE FUNCTION give_turn();

CREATE FUNCTION turns_follow_states() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    UPDATE batch_cursors SET turn_of = NULL WHERE batch_id = NEW.id; -- which `give_turn` corrects
    RETURN NULL;
END $$;

CREATE TRIGGER turns_follow_states AFTER UPDATE OF state ON batches
FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION turns_follow_states();
