"""Code that several vendors' protocols share: conversations, streams, tool calls, errors."""
