"""Signatures of thoughts, wrapped for their way through callers: each says which model made it, so that no vendor is
sent another vendor's.

rm2~<api>/<upstream>~<r: redacted>~<digest>~<text, if the caller does not get it>~<the vendor's signature>

The digest covers the text and the vendor's signature, so that a truncated signature is recognised. Nothing is stored
here.

A vendor takes thoughts unchanged or refuses the request. Therefore a thought is left out if another model made it, if
it was changed, or if its vendor did not sign it and takes no unsigned ones.
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
"""APIs that take a signature back without a text; a thought without a signature cannot be sent to them."""
UNSIGNED = frozenset({"deepseek-chat"})
"""APIs that take the text back and know no signatures; an unsigned thought may come from one of them."""
NOT_TOLD = frozenset({"gemini"})
"""APIs that sign something other than the thoughts that they show, and take none of those back."""
OF_BYTES = frozenset({"gemini"})
"""APIs whose signatures are bytes, like all encrypted data."""


def wrapped(model: Model, signature: str | None, text: str = "", *, shown: bool = True, redacted: bool = False) -> str:
    """The wrapped signature that a caller gets and sends back with the thought's `text`; it contains the text if the caller
    is not `shown` it.
    """
    hidden = "" if shown or model.api in WITHOUT_TEXT else base64.urlsafe_b64encode(text.encode()).decode()
    kind = REDACTED if redacted else ""
    digest = _digest(text, signature or "", model)
    return SEPARATOR.join((VERSION, _maker(model), kind, digest, hidden, signature or ""))


def own_signature(model: Model, given: str | None) -> str | None:
    """The vendor's signature of something without text, such as a call; None if another model made it."""
    thought = own_thought(model, Thought(signature=given))
    return thought.signature if thought else None


def own_thought(model: Model, given: Thought) -> Thought | None:
    """The thought in the form in which this model's vendor made it; None if another model made it, or if it was
    changed.
    """
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
    """True if a thought that the vendor has not signed is still complete."""
    return model.api in UNSIGNED | NOT_TOLD


def _maker(model: Model) -> str:
    return f"{model.api}/{model.vendor_model}"


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
