"""The front door: authenticates requests, holds credit for them, enqueues them and relays their answers."""
