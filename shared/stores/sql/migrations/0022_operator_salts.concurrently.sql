-- Salts are forgotten after a day: those that are still there are few.
CREATE INDEX CONCURRENTLY IF NOT EXISTS operator_refs_with_salt ON operator_refs (created_at) WHERE salt IS NOT NULL;
