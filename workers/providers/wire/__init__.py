"""What vendors' protocols have in common: conversations, streams, tool calls, errors."""
