"""The one error of a run that cannot be: everything that stops `make run` before it is ready."""


class StartError(Exception):
    """Something cannot be had or does not become ready; the message says what, why and where its log is."""
