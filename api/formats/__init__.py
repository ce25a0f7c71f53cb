"""The forms of requests and answers in each API."""
