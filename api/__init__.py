"""The front door: authenticates, holds credit, enqueues, relays."""
