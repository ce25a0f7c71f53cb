"""The operators' command, `rebootml`."""
