-- What is looked for by the functions and queries of 0007.

CREATE INDEX CONCURRENTLY IF NOT EXISTS api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS api_keys_expiring ON api_keys (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS api_keys_succeeded ON api_keys (successor) WHERE successor IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS batches_by_file_day ON batches (file_day);
CREATE INDEX CONCURRENTLY IF NOT EXISTS batches_by_day ON batches (day);
