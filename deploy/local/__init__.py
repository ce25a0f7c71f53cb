"""The whole service on one machine: embedded stores, simulator, supervisor, demo account."""
