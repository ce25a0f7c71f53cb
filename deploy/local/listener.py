"""The socket that all front doors share, and free ports for what each process has to itself."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from deploy.local.errors import StartError

BACKLOG = 2_048
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Bind HOST:PORT and listen: nobody else can take it, and early callers wait instead of being refused."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise StartError(f"HOST={host!r} is no address of this machine: {error.strerror}") from None
    with socket.socket(family, kind) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            raise StartError(
                f"{host}:{port} cannot be had ({error.strerror}): choose another PORT, as in `make run PORT=8090`"
            ) from None
        yield listener


def url_of(listener: socket.socket) -> str:
    """The URL by which this machine reaches the socket."""
    address, port = listener.getsockname()[:2]
    address = _EVERYWHERE.get(address, address)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody holds at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
