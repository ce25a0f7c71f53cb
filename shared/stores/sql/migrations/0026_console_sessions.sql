-- Who is signed in to the console, and links that sign in once. Only the SHA-256 of a session's or a link's token is kept.

CREATE TABLE console_sessions (
    token_sha256 bytea PRIMARY KEY CHECK (length(token_sha256) = 32),
    key_id       text NOT NULL REFERENCES api_keys,
    opened       boolean NOT NULL, -- false: a link that nobody has used
    keep_until   timestamptz NOT NULL
);

CREATE INDEX console_sessions_by_end ON console_sessions (keep_until);
