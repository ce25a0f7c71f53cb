-- Batches that were open before have their turns, too (see 0011); it locks no more than their cursors, one by one.
UPDATE batch_cursors c SET turn_of = NULL FROM batches b
WHERE b.id = c.batch_id AND b.ended_at IS NULL AND c.left_over > 0 AND c.turn_of IS NULL;

CREATE INDEX CONCURRENTLY IF NOT EXISTS batch_cursors_in_turn ON batch_cursors (provider, turn_of, batch_id) WHERE turn_of IS NOT NULL;
