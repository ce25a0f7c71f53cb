"""What workers clean up from time to time, one at a time."""
