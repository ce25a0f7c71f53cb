"""One request at a worker: the vendor is called, the answer journaled, the end settled."""
