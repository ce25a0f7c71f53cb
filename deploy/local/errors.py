"""The error that stops `make run` before it is ready."""


class StartError(Exception):
    """Something cannot be had or does not become ready; the message says what, why and where its log is."""
