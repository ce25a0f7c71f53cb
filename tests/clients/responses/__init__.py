"""The Responses API with the clients that call it: each does the same things with models of four vendors."""
