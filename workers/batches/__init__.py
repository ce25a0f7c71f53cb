"""Running batches: lines are fed into the queue at the pace that vendors allow, and batches are finished and exported."""
