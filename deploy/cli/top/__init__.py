"""`rebootml top`: queues, workers, vendors and money, live in a terminal; without one a single picture."""
