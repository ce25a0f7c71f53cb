-- The column `provider` of these tables is older than the tiers of service; it keeps its name, because the previous release uses it.

COMMENT ON COLUMN file_lines.provider IS 'The feed of the line: a provider, or a provider and its tier, such as openai:flex. NULL for a line that was not understood.';
COMMENT ON COLUMN batch_cursors.provider IS 'The feed whose lines of the batch this cursor counts: a provider, or a provider and its tier, such as openai:flex.';
COMMENT ON COLUMN batch_items.provider IS 'The feed that fed the item: a provider, or a provider and its tier, such as openai:flex.';
