"""Older major versions of the openai client, each in an environment of its own, without the project's packages."""
