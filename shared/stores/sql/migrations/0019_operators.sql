-- Operators with the tokens of their API, what they have switched off, the answers that a repeated `ref` gets again, and the
-- audit log: every change of access, credit and routing, with who made it.

CREATE TABLE operators (
    name           text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9._@-]{1,64}$'),
    -- The secret for the operators' console, of which only this is kept.
    sign_in_id     text NOT NULL UNIQUE,
    sign_in_sha256 bytea NOT NULL CHECK (length(sign_in_sha256) = 32),
    created_at     timestamptz NOT NULL DEFAULT now(),
    revoked_at     timestamptz
);

CREATE TABLE operator_tokens (
    id            text PRIMARY KEY,
    operator      text NOT NULL REFERENCES operators,
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
    scopes        text[] NOT NULL,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX operator_tokens_by_operator ON operator_tokens (operator, created_at);

-- The first answer of each `ref`, in the transaction of what it answers. A key that was made is not in it: with `salt` and the
-- token that asked for it, it is made again.
CREATE TABLE operator_refs (
    operator    text NOT NULL REFERENCES operators,
    ref         text NOT NULL,
    fingerprint bytea NOT NULL,
    answer      jsonb NOT NULL,
    salt        bytea,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (operator, ref)
);

-- What is out of service: a paused provider, a worker that drains.
CREATE TABLE switched_off (
    kind  text NOT NULL CHECK (kind IN ('provider', 'worker')),
    name  text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, name)
);

CREATE TABLE audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor      text NOT NULL,
    action     text NOT NULL,
    target     text NOT NULL,
    before     jsonb,
    after      jsonb,
    request_id text
);

CREATE INDEX audit_by_actor ON audit (actor, id);

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
