"""How requests and answers look on each API surface."""
