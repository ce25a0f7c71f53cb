"""Parses the addresses that an operator names: the URL of the service, and the proxies in front of it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def public_url(text: str) -> str:
    """Parse the URL where callers find the service, without a slash at its end. Raises `ValueError` in words.

    >>> public_url("https://llm.example.com/")
    'https://llm.example.com'
    """
    takes = "a URL at which callers find this service, such as https://llm.example.com: no user, query or fragment"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if (
        not usable
        or "@" in parts.netloc
        or set(text) & set("?#\\<>\"'` ")
        or not text.isascii()
        or not text.isprintable()
    ):
        raise ValueError(takes)
    return text.rstrip("/")


def network_list(text: str) -> tuple[Network, ...]:
    """Parse a comma list of networks and addresses, each once. Raises `ValueError`, which says what is allowed.

    >>> network_list("10.0.0.0/8, ::1")
    (IPv4Network('10.0.0.0/8'), IPv6Network('::1/128'))
    """
    try:
        return tuple(dict.fromkeys(ip_network(part.strip()) for part in text.split(",")))
    except ValueError:
        raise ValueError(
            "a comma list of networks or addresses, such as 10.0.0.0/8,192.0.2.7,fd00::/8 (the bits behind a network's"
            " prefix are 0)"
        ) from None


def address_in(text: str) -> Address | None:
    """Parse an address as proxies write it, some with a port or in brackets. None for anything else.

    >>> address_in("[2001:db8::1]:443"), address_in("::ffff:192.0.2.7"), address_in("unknown")
    (IPv6Address('2001:db8::1'), IPv4Address('192.0.2.7'), None)
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
