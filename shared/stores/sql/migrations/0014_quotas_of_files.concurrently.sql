-- What is looked for by the functions and queries of 0013.

CREATE INDEX CONCURRENTLY IF NOT EXISTS files_counted ON files (account_id) INCLUDE (id, state, counted) WHERE counted > 0;
CREATE INDEX CONCURRENTLY IF NOT EXISTS files_to_look_at ON files (look_at) WHERE look_at IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS batches_by_file ON batches (file_id);
