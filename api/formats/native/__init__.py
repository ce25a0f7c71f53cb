"""The native API, `/api/…`: its bodies, answers, streams and batch lines."""
