-- `reserve` once more, as 0003 explains it, with idempotency keys and with batches' items; and `feed`, which makes items.

DROP FUNCTION reserve(jsonb, integer);

-- Admit what the credit allows, in the batch's order within an account: a large request that is refused does not refuse
-- the smaller one behind it. `output_limit` is what is wanted, `output_floor` the least that makes sense; what is granted
-- lies between them. `input_bound` and `output_limit` are tokens, prices nano-USD per million tokens. With an idempotency
-- key that leads to a request, nothing is admitted: it is a repeat of that request, unless that one ended without success and
-- without a charge; then the key goes over to the new one. A key that comes with another body is a mismatch in any case. What
-- is refused leaves the key as it was.
CREATE FUNCTION reserve(batch jsonb, in_flight_max integer)
RETURNS TABLE (request_id text, outcome text, granted_limit integer, granted_hold bigint, needed bigint, available bigint, existing_id text)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_mergejoin = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    item record;
    current_account text := '';
    credit bigint;
    room integer;
    spendable bigint;
    key_spent jsonb := '{}';
    same_body boolean;
    over_uncharged boolean;
    admitted_ids text[] := '{}';
    admitted_limits integer[] := '{}';
    admitted_holds bigint[] := '{}';
BEGIN
    PERFORM 1 FROM accounts a
    WHERE a.id IN (SELECT element->>'account_id' FROM jsonb_array_elements(batch) element)
    ORDER BY a.id FOR UPDATE;

    FOR item IN
        SELECT b.*, a.balance_nano - a.held_nano AS account_available, a.in_flight, k.limit_nano - k.used_nano AS key_left
        FROM ROWS FROM (jsonb_to_recordset(batch) AS (
            id text, account_id text, key_id text, input_bound bigint, output_limit integer, output_floor integer,
            input_price bigint, output_price bigint, created_at timestamptz, keep_until timestamptz, idempotency_key text, fingerprint text
        )) WITH ORDINALITY AS b(
            id, account_id, key_id, input_bound, output_limit, output_floor,
            input_price, output_price, created_at, keep_until, idempotency_key, fingerprint, position)
        JOIN accounts a ON a.id = b.account_id
        LEFT JOIN api_keys k ON k.id = b.key_id AND k.limit_nano IS NOT NULL
        ORDER BY b.account_id, b.position
    LOOP
        IF item.account_id <> current_account THEN
            current_account := item.account_id;
            credit := item.account_available;
            room := in_flight_max - item.in_flight;
        END IF;
        spendable := LEAST(credit, item.key_left - COALESCE((key_spent->>item.key_id)::bigint, 0)); -- LEAST skips NULL
        request_id := item.id;
        available := credit;
        granted_limit := item.output_limit;
        granted_hold := div_up(item.input_bound * item.input_price + granted_limit * item.output_price);
        IF granted_hold > spendable AND item.output_price > 0 THEN
            granted_limit := GREATEST(item.output_floor::numeric, LEAST(item.output_limit::numeric, trunc(
                (spendable::numeric * 1000000 - item.input_bound * item.input_price) / item.output_price)))::integer;
            granted_hold := div_up(item.input_bound * item.input_price + granted_limit * item.output_price);
        END IF;
        needed := granted_hold;
        existing_id := NULL;
        IF item.idempotency_key IS NOT NULL THEN
            SELECT i.request_id, i.fingerprint = decode(item.fingerprint, 'base64'),
                COALESCE(r.state IN ('failed', 'cancelled') AND r.charged_nano = 0, false)
            INTO existing_id, same_body, over_uncharged
            FROM idempotency_keys i LEFT JOIN requests r ON r.id = i.request_id AND r.created_at = i.request_created_at
            WHERE i.account_id = item.account_id AND i.key = decode(item.idempotency_key, 'base64') AND i.keep_until > now();
        END IF;
        IF existing_id IS NOT NULL AND same_body IS NOT TRUE THEN
            outcome := 'mismatch';
        ELSIF existing_id IS NOT NULL AND NOT over_uncharged THEN
            outcome := 'repeat';
        ELSIF room <= 0 THEN
            outcome := 'in_flight';
        ELSIF granted_hold > credit THEN
            outcome := 'credit';
        ELSIF granted_hold > spendable THEN
            outcome := 'key_limit';
        ELSE
            outcome := 'admitted';
            credit := credit - granted_hold;
            room := room - 1;
            admitted_ids := admitted_ids || item.id;
            admitted_limits := admitted_limits || granted_limit;
            admitted_holds := admitted_holds || granted_hold;
            IF item.idempotency_key IS NOT NULL THEN
                INSERT INTO idempotency_keys (account_id, key, fingerprint, request_id, request_created_at, keep_until)
                VALUES (item.account_id, decode(item.idempotency_key, 'base64'), decode(item.fingerprint, 'base64'),
                    item.id, item.created_at, item.keep_until)
                ON CONFLICT (account_id, key) DO UPDATE SET
                    fingerprint = EXCLUDED.fingerprint, request_id = EXCLUDED.request_id,
                    request_created_at = EXCLUDED.request_created_at, keep_until = EXCLUDED.keep_until;
            END IF;
            IF item.key_left IS NOT NULL THEN
                key_spent := key_spent || jsonb_build_object(
                    item.key_id, granted_hold + COALESCE((key_spent->>item.key_id)::bigint, 0));
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;

    WITH granted AS (
        SELECT * FROM unnest(admitted_ids, admitted_limits, admitted_holds) AS g(id, output_limit, hold_nano)
    ), logged AS (
        INSERT INTO requests (
            id, created_at, account_id, key_id, model, upstream, provider, api, lane, stream, price_version,
            input_price, output_price, cached_price, input_bound, output_limit, hold_nano, deadline_at, expires_at, messages, metadata, keep_until,
            batch_id, batch_number, batch_day)
        SELECT
            b.id, b.created_at, b.account_id, b.key_id, b.model, b.upstream, b.provider, b.api, b.lane, b.stream, b.price_version,
            b.input_price, b.output_price, b.cached_price, b.input_bound, g.output_limit, g.hold_nano, b.deadline_at, b.expires_at, b.messages, b.metadata, b.keep_until,
            b.batch_id, b.batch_number, b.batch_day
        FROM jsonb_populate_recordset(NULL::requests, batch) b JOIN granted g ON g.id = b.id
        RETURNING account_id, key_id, hold_nano
    ), keys_used AS (
        UPDATE api_keys k SET used_nano = k.used_nano + (spent.amount)::bigint
        FROM jsonb_each_text(key_spent) AS spent(key_id, amount) WHERE k.id = spent.key_id
    )
    UPDATE accounts a SET held_nano = a.held_nano + sums.hold_nano, in_flight = a.in_flight + sums.n
    FROM (SELECT account_id, sum(hold_nano)::bigint AS hold_nano, count(*)::integer AS n FROM logged GROUP BY account_id) sums
    WHERE a.id = sums.account_id;
END $$;

-- Feed lines of one batch and provider to the queue: hold credit for them and make them items, in one transaction. `lines`
-- are reservations in the order of their numbers; the longest beginning of them is taken that the account can afford
-- within `share` of its balance for all its batches, that the key's limit allows, and that leaves `room_kept` of what the
-- account may have in flight to its interactive requests. Nothing is taken when the batch is not in progress, or when
-- another feeder was there first (`fed_to` is not `after_number` any more, or locked). The account is locked first, as
-- everywhere. The last row of the answer has no request: its outcome is why no more were taken (`done`, `credit`,
-- `key_limit`, `in_flight`, `not_now`), `needed` what the next line would hold.
CREATE FUNCTION feed(
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
        SELECT l.number, div_up(l.input_bound * l.input_price + l.output_limit * l.output_price) AS hold
        FROM ROWS FROM (jsonb_to_recordset(lines) AS (
            batch_number integer, input_bound bigint, input_price bigint, output_limit bigint, output_price bigint
        )) WITH ORDINALITY AS l(number, input_bound, input_price, output_limit, output_price, position) ORDER BY l.position
    LOOP
        next_hold := one.hold;
        IF taken >= room THEN
            why := 'in_flight';
        ELSIF total + one.hold > budget THEN
            why := 'credit';
        ELSIF total + one.hold > key_left THEN
            why := 'key_limit';
        END IF;
        EXIT WHEN why <> 'done';
        total := total + one.hold;
        taken := taken + 1;
        last_number := one.number;
    END LOOP;

    IF taken > 0 THEN
        chosen := (SELECT jsonb_agg(element ORDER BY position)
            FROM jsonb_array_elements(lines) WITH ORDINALITY AS e(element, position) WHERE position <= taken);
        FOR admission IN SELECT * FROM reserve(chosen, in_flight_max) LOOP
            IF admission.outcome <> 'admitted' THEN
                RAISE EXCEPTION 'a line that was found affordable was refused: %', admission.outcome;
            END IF;
            request_id := admission.request_id;
            outcome := admission.outcome;
            granted_hold := admission.granted_hold;
            needed := admission.needed;
            RETURN NEXT;
        END LOOP;
        INSERT INTO batch_items (day, batch_id, number, account_id, provider, model, request_id, hold_nano, bytes, fed_at)
        SELECT (element->>'batch_day')::date, the_batch, (element->>'batch_number')::integer, owner.id, the_provider, element->>'model',
            element->>'id', div_up((element->>'input_bound')::bigint * (element->>'input_price')::bigint
                + (element->>'output_limit')::bigint * (element->>'output_price')::bigint),
            (element->>'batch_bytes')::integer, now()
        FROM jsonb_array_elements(chosen) AS e(element);
        UPDATE batch_cursors c SET fed_to = last_number, left_over = c.left_over - taken
        WHERE c.batch_id = the_batch AND c.provider = the_provider;
        UPDATE batches b SET fed = b.fed + taken WHERE b.id = the_batch;
    END IF;
    RETURN QUERY SELECT NULL::text, why, 0::bigint, CASE WHEN why = 'done' THEN 0 ELSE next_hold END;
END $$;

-- What ended of a batch: its items and their batch's counts. A trigger, so that nothing that ends a hold can miss it.
CREATE FUNCTION count_batches() RETURNS trigger LANGUAGE plpgsql
SET enable_seqscan = off SET enable_mergejoin = off SET enable_hashjoin = off SET jit = off AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM rows_after WHERE batch_id IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    WITH ended AS (
        SELECT a.id, a.batch_id, a.batch_number, a.batch_day, a.error_code, a.error_message, a.charged_nano,
            CASE WHEN a.state = 'succeeded' THEN 'completed' WHEN a.state = 'cancelled' THEN 'cancelled'
                WHEN a.error_code = 'expired' THEN 'expired' ELSE 'failed' END AS state
        FROM rows_after a WHERE a.batch_id IS NOT NULL AND a.ended_at IS NOT NULL
    ), items AS (
        UPDATE batch_items i SET state = e.state, error_code = e.error_code, error_message = e.error_message
        FROM ended e
        WHERE i.batch_id = e.batch_id AND i.number = e.batch_number AND i.day = e.batch_day AND i.request_id = e.id AND i.state = 'running'
        RETURNING i.batch_id, i.state, e.charged_nano
    )
    UPDATE batches b SET
        completed = b.completed + sums.completed, failed = b.failed + sums.failed, cancelled = b.cancelled + sums.cancelled,
        expired = b.expired + sums.expired, charged_nano = b.charged_nano + sums.charged
    FROM (
        SELECT i.batch_id, count(*) FILTER (WHERE i.state = 'completed') AS completed, count(*) FILTER (WHERE i.state = 'failed') AS failed,
            count(*) FILTER (WHERE i.state = 'cancelled') AS cancelled, count(*) FILTER (WHERE i.state = 'expired') AS expired,
            sum(i.charged_nano)::bigint AS charged
        FROM items i GROUP BY i.batch_id
    ) sums WHERE b.id = sums.batch_id;
    RETURN NULL;
END $$;

CREATE TRIGGER requests_counted AFTER UPDATE ON requests REFERENCING NEW TABLE AS rows_after
FOR EACH STATEMENT EXECUTE FUNCTION count_batches();
