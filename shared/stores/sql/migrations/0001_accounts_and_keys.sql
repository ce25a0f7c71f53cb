-- Accounts with their wallet, and the API keys that spend from it. Amounts are nano-USD.

CREATE TABLE accounts (
    id           text PRIMARY KEY,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    balance_nano bigint NOT NULL DEFAULT 0,
    held_nano    bigint NOT NULL DEFAULT 0,
    in_flight    integer NOT NULL DEFAULT 0 CHECK (in_flight >= 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- Whatever the code does, the database refuses an overspend.
    CONSTRAINT accounts_never_overspend CHECK (held_nano >= 0 AND held_nano <= balance_nano)
) WITH (fillfactor = 50); -- hot rows: room for in-page updates

CREATE TABLE api_keys (
    id            text PRIMARY KEY,
    account_id    text NOT NULL REFERENCES accounts,
    name          text NOT NULL,
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
    scopes        text[] NOT NULL,
    rpm           integer CHECK (rpm > 0),
    limit_nano    bigint CHECK (limit_nano >= 0),
    used_nano     bigint NOT NULL DEFAULT 0 CHECK (used_nano >= 0),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    -- `used` is what was charged plus what is held; it is kept for keys with a limit only.
    CONSTRAINT api_keys_within_limit CHECK (limit_nano IS NULL OR used_nano <= limit_nano)
) WITH (fillfactor = 50);

CREATE INDEX api_keys_by_account ON api_keys (account_id, created_at);
