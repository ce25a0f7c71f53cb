"""One request at a worker: the vendor is called, the answer is journaled, the end is settled."""
