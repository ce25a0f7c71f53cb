"""The console: pages for holders of API keys, rendered on the server and authenticated by a session."""
