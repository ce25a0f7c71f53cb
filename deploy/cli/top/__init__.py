"""`rebootml top`: queues, workers, vendors and money, live in a terminal; without a terminal one snapshot."""
