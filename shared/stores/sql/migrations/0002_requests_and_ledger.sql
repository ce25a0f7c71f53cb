-- The request log with one hold per request, and the ledger of transfers. Both are partitioned by time; a request id
-- holds its creation time, so (id, created_at) is unique exactly when the id is.

CREATE TABLE requests (
    id                text NOT NULL,
    created_at        timestamptz NOT NULL,
    account_id        text NOT NULL,
    key_id            text NOT NULL,
    model             text NOT NULL,
    upstream          text NOT NULL,
    provider          text NOT NULL,
    api               text NOT NULL,
    lane              text NOT NULL CHECK (lane IN ('interactive', 'batch')),
    stream            boolean NOT NULL,
    -- what was promised: prices in force (nano-USD per million tokens), bounds, the hold
    price_version     text NOT NULL,
    input_price       bigint NOT NULL CHECK (input_price >= 0),
    output_price      bigint NOT NULL CHECK (output_price >= 0),
    cached_price      bigint CHECK (cached_price >= 0),
    input_bound       bigint NOT NULL CHECK (input_bound >= 0),
    output_limit      integer NOT NULL CHECK (output_limit > 0),
    hold_nano         bigint NOT NULL CHECK (hold_nano >= 0),
    deadline_at       timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    messages          text, -- JSON as received; only when KEEP_MESSAGES asks for it
    -- how it ended
    state             text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'succeeded', 'failed', 'cancelled')),
    hold_state        text NOT NULL DEFAULT 'held' CHECK (hold_state IN ('held', 'settled', 'released', 'expired')),
    ended_at          timestamptz,
    tokens_input      bigint,
    tokens_output     bigint,
    tokens_cached     bigint,
    tokens_reasoning  bigint,
    usage_estimated   boolean,
    vendor_cost_nano  bigint CHECK (vendor_cost_nano >= 0),
    charged_nano      bigint NOT NULL DEFAULT 0,
    finish_reason     text,
    error_code        text,
    error_message     text,
    attempts          integer NOT NULL DEFAULT 0,
    PRIMARY KEY (id, created_at),
    CONSTRAINT requests_charged_within_hold CHECK (charged_nano >= 0 AND charged_nano <= hold_nano),
    CONSTRAINT requests_end_once CHECK ((hold_state = 'held') = (ended_at IS NULL) AND (hold_state = 'held') = (state = 'pending')),
    CONSTRAINT requests_free_unless_settled CHECK (hold_state = 'settled' OR charged_nano = 0)
) PARTITION BY RANGE (created_at);

CREATE INDEX requests_by_account ON requests (account_id, created_at DESC);
-- Says `ended_at`, not `hold_state`, on purpose: the settling update must never take it for its own way in.
CREATE INDEX requests_unended ON requests (expires_at) WHERE ended_at IS NULL;

-- Double entry: a row moves an amount from one wallet to another, so a transfer cannot be unbalanced.
CREATE TABLE ledger (
    id             bigint GENERATED ALWAYS AS IDENTITY,
    created_at     timestamptz NOT NULL DEFAULT now(),
    debit_account  text NOT NULL,
    credit_account text NOT NULL CHECK (credit_account <> debit_account),
    amount_nano    bigint NOT NULL CHECK (amount_nano > 0),
    kind           text NOT NULL CHECK (kind IN ('capture', 'credit', 'take_back')),
    request_id     text CHECK ((kind = 'capture') = (request_id IS NOT NULL)),
    ref            text,
    note           text,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);

CREATE INDEX ledger_by_debit ON ledger (debit_account, created_at);
CREATE INDEX ledger_by_credit ON ledger (credit_account, created_at);
CREATE INDEX ledger_by_request ON ledger (request_id) WHERE request_id IS NOT NULL;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE ON ledger FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The same reference credits an account once.
CREATE TABLE credit_refs (
    account_id  text NOT NULL REFERENCES accounts,
    ref         text NOT NULL,
    amount_nano bigint NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, ref)
);

-- What a vendor reported beyond a hold: the house's loss, never the customer's.
CREATE TABLE overruns (
    request_id  text PRIMARY KEY,
    amount_nano bigint NOT NULL CHECK (amount_nano > 0),
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- What could not be charged because the hold had ended before the settlement came.
CREATE TABLE unbilled (
    request_id  text PRIMARY KEY,
    amount_nano bigint NOT NULL CHECK (amount_nano > 0),
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- Rows that a micro-batch refused, set aside so that they stop nobody else; an operator looks at them.
CREATE TABLE quarantine (
    request_id text PRIMARY KEY,
    settlement text NOT NULL,
    reason     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE requests_default PARTITION OF requests DEFAULT;
CREATE TABLE ledger_default PARTITION OF ledger DEFAULT;

-- Make the monthly partitions of this month and the following ones; what exists stays as it is. A month that has rows in
-- the default partition already stays there.
CREATE FUNCTION ensure_partitions(months_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
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

SELECT ensure_partitions(3);
