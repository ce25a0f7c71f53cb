"""The console: pages for whoever holds an API key, made on the server and signed in by a session."""
