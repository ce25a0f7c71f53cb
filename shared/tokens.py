"""Secrets that are shown once: `<prefix>_<id>_<secret><checksum>`.

`id` (12 characters) finds the row, `secret` (32 characters of base 62, 190.5 bits) proves the right to use it, `checksum`
(6 characters) lets a mistyped one be refused without asking the database. Only the SHA-256 of the secret is stored; a fast
hash is enough for a random secret.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from typing import NamedTuple

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 12
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6
SALT_LENGTH = 16


class Minted(NamedTuple):
    """A new token: `text` is the whole token, the other fields may be stored."""

    text: str
    id: str
    secret_sha256: bytes


def mint(prefix: str, secret: str | None = None) -> Minted:
    """Create a token with a new id, and a new secret unless it is given."""
    token_id, secret = random_word(ID_LENGTH), secret or random_word(SECRET_LENGTH)
    return Minted(joined(prefix, token_id, secret), token_id, sha256(secret))


def joined(prefix: str, token_id: str, secret: str) -> str:
    """The whole text of a token."""
    return f"{prefix}_{token_id}_{secret}{checksum(token_id, secret)}"


def parted(prefix: str, text: str) -> tuple[str, str] | None:
    """The id and the secret of a well-formed token, or None."""
    found, _, rest = text.partition("_")
    token_id, _, tail = rest.partition("_")
    secret, check = tail[:SECRET_LENGTH], tail[SECRET_LENGTH:]
    if found != prefix or not text.isascii() or not hmac.compare_digest(check, checksum(token_id, secret)):
        return None
    return token_id, secret


def sha256(secret: str) -> bytes:
    """The hash of the secret that is stored."""
    return hashlib.sha256(secret.encode()).digest()


def proves(secret: str, secret_sha256: bytes) -> bool:
    """Compare a secret with its hash, in constant time."""
    return hmac.compare_digest(secret_sha256, sha256(secret))


def random_word(length: int) -> str:
    """Random letters and digits that cannot be guessed."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def new_salt() -> bytes:
    """A new salt for `derived`."""
    return secrets.token_bytes(SALT_LENGTH)


def derived(secret: str, salt: bytes) -> str:
    """A secret that can be made again only from both `secret` and `salt`."""
    number = int.from_bytes(hmac.digest(secret.encode(), salt, "sha256"))
    digits = ""
    for _ in range(SECRET_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits += ALPHABET[digit]
    return digits


def checksum(token_id: str, secret: str) -> str:
    """The characters that reveal a mistyped token; they need no secret."""
    number = zlib.crc32(f"{token_id}_{secret}".encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
