"""Signatures of thoughts on their way through callers: each says which model made it, so that no vendor is sent another's.

    rm2~<api>/<upstream>~<r: redacted>~<digest>~<text, where the caller does not get it>~<the vendor's signature>

The digest is that of the text and of the vendor's signature, so that a signature that was cut off is known. What comes
back is kept nowhere here. A thought that is not this model's, or that is not what it was, would be refused by its vendor, who
takes thoughts unchanged or not at all: it is left out. So is one that its vendor has not signed and does not take without.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from shared.catalogue.models import Model
from shared.thoughts import Thought

VERSION = "rm2"
SEPARATOR = "~"
DIGEST_LENGTH = 12
REDACTED = "r"
WITHOUT_TEXT = frozenset({"openai-responses", "gemini"})
"""The APIs that want a signature back and no text beside it: without one there is nothing to send."""
UNSIGNED = frozenset({"deepseek-chat"})
"""The APIs that want the text back and know no signature: one that nobody has signed may be theirs."""
NOT_TOLD = frozenset({"gemini"})
"""The APIs that sign something else than the thoughts that they show, and want none of those back."""
OF_BYTES = frozenset({"gemini"})
"""The APIs whose signatures are bytes, as encrypted data is everywhere."""


def wrapped(model: Model, signature: str | None, text: str = "", *, shown: bool = True, redacted: bool = False) -> str:
    """What a caller gets of a thought of this model, to send back with its `text`; by itself where that is not `shown`."""
    hidden = "" if shown or model.api in WITHOUT_TEXT else base64.urlsafe_b64encode(text.encode()).decode()
    kind = REDACTED if redacted else ""
    digest = _digest(text, signature or "", model)
    return SEPARATOR.join((VERSION, _maker(model), kind, digest, hidden, signature or ""))


def own_signature(model: Model, given: str | None) -> str | None:
    """The vendor's signature of what has no text, such as a call; None when another made it."""
    thought = own_thought(model, Thought(signature=given))
    return thought.signature if thought else None


def own_thought(model: Model, given: Thought) -> Thought | None:
    """The thought as the vendor of this model made it; None when another made it, or when its text has been changed."""
    if given.signature is None:
        return given if given.text and model.api in UNSIGNED else None
    version, *parts = given.signature.split(SEPARATOR, 5)
    if version != VERSION or len(parts) != 5 or parts[0] != _maker(model):  # noqa: PLR2004 - see the form above
        return None
    _, kind, digest, hidden, signature = parts
    redacted = kind == REDACTED
    text = _revealed(hidden) if hidden else given.text
    if (
        text is None
        or digest != _digest(text, signature, model)
        or not (signature or (text and needs_no_signature(model)))
    ):
        return None
    if (redacted or model.api in OF_BYTES) and not _is_base64(signature):
        return None
    return Thought(text, signature or None, redacted, None, given.after_text, given.after_calls)


def needs_no_signature(model: Model) -> bool:
    """Whether nothing is lost of a thought that the vendor has not signed."""
    return model.api in UNSIGNED | NOT_TOLD


def _maker(model: Model) -> str:
    return f"{model.api}/{model.upstream}"


def _digest(text: str, signature: str, model: Model) -> str:
    signed = "" if model.api in WITHOUT_TEXT else text
    return hashlib.sha256(f"{signed}{SEPARATOR}{signature}".encode()).hexdigest()[:DIGEST_LENGTH]


def _is_base64(signature: str) -> bool:
    try:
        base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _revealed(hidden: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(hidden).decode()
    except (binascii.Error, ValueError):
        return None
