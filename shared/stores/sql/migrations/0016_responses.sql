-- Requests of the Responses API whose input is kept, so that others may go on from them, with what their answers say of it.

-- `told` and `input` are as the API has them; `previous_id` is the request that this one goes on from. `bytes` is what it counts
-- towards its account's room: nothing until it is admitted, and from its end on its answer, too. Who leaves an `attended` request
-- has cancelled it. One that is `forgotten` was deleted by its owner: nothing of it is left, and its answer is not kept either.
-- The account is no foreign key: what is written before its request must not wait for the account.
CREATE TABLE responses (
    request_id  text PRIMARY KEY,
    account_id  text NOT NULL,
    previous_id text,
    attended    boolean NOT NULL,
    forgotten   boolean NOT NULL DEFAULT false,
    told        bytea NOT NULL,
    input       bytea NOT NULL,
    bytes       bigint NOT NULL CHECK (bytes >= 0),
    keep_until  timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX responses_by_end ON responses (keep_until);

-- What they count together. Only ever locked behind the account and the rows of `responses`.
CREATE TABLE response_room (
    account_id text PRIMARY KEY REFERENCES accounts,
    bytes      bigint NOT NULL CHECK (bytes >= 0)
) WITH (fillfactor = 50); -- hot rows: room for in-page updates
