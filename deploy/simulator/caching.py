"""The caches of prompts: what a vendor keeps of the beginnings that it was sent, and what it reads of them.

A prompt is a row of pieces in the order in which the vendor reads them, each with its tokens. A beginning is known by a
digest of its pieces, the vendor's key and the model, so that no key reads what another one wrote. Every vendor has rules of
its own for what is kept, which its dialect states as a `Policy`:

| vendor | keeps | reads | reports what was written |
|---|---|---|---|
| Converse | up to each `cachePoint` | the longest one, at most 20 pieces before a point | yes, by how long it is kept |
| OpenAI from GPT-5.6 on | up to each breakpoint, and to the newest message's end | the longest, exactly | yes |
| OpenAI before, DeepSeek, Gemini | all of it | in steps of so many tokens | no |

Sources, read 2026-11: docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html and platform.claude.com's guide to
prompt caching; developers.openai.com/api/docs/guides/prompt-caching and openai-python 3.54;
api-docs.deepseek.com/guides/kv_cache; ai.google.dev/gemini-api/docs/caching (of which the steps were not found).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import msgspec

from deploy.simulator.answer import IMAGE_TOKENS, NOTHING, Hit

MESSAGE_TOKENS = 3
SHORT_S, LONG_S = 300, 3_600
ENTRIES_MAX = 200_000
TOKEN_BYTES = 4
LOOKBACK = 20


class Piece(msgspec.Struct, frozen=True):
    """A part of a prompt. `kept_s` is the number of seconds for which a mark behind it wants everything up to it kept;
    0 without a mark.
    """

    content: bytes
    tokens: int
    kept_s: int = 0


def rest(content: bytes, kept_s: int = 0) -> Piece:
    """A piece that counts as a message of its own: a definition, a call or a result."""
    return Piece(content, tokens_of(len(content)) + MESSAGE_TOKENS, kept_s)


def picture(data: bytes, kept_s: int = 0) -> Piece:
    """An image."""
    return Piece(hashlib.sha256(data).digest(), IMAGE_TOKENS, kept_s)


def tokens_of(size: int) -> int:
    """Tokens of `size` bytes of text."""
    return -(-size // TOKEN_BYTES)


class Spoken:
    """Makes pieces from the texts of one message; their tokens add up to the message's."""

    def __init__(self, role: str) -> None:
        self.opening = Piece(role.encode(), MESSAGE_TOKENS)
        self._size = 0

    def text(self, text: str, kept_s: int = 0) -> Piece:
        """The next text."""
        content = text.encode()
        before, self._size = tokens_of(self._size), self._size + len(content)
        return Piece(content, tokens_of(self._size) - before, kept_s)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules by which a model's vendor caches prompts. `minimum` is the fewest tokens of a beginning. `step`: beginnings
    are known in steps of so many tokens; 0 means only at marks. `lookback` is the number of pieces before a mark at
    which a beginning may end; None means all. `bills_writes`: written tokens are reported. `kept_s` is the life of
    an entry if no mark gives one.
    """

    minimum: int
    step: int = 0
    lookback: int | None = None
    bills_writes: bool = False
    kept_s: int = SHORT_S


class Prompt(msgspec.Struct, frozen=True):
    """A request for the vendor's cache. `owner` is the vendor's key and the model."""

    owner: bytes
    pieces: Callable[[], list[Piece]]
    policy: Policy


class PromptCache:
    """The cached beginnings, by digest, with their ends of life. `now` returns seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._until: dict[bytes, float] = {}

    def ask(self, owner: bytes, pieces: Sequence[Piece], policy: Policy) -> Hit:
        """Look up the longest known beginning of a prompt, and keep what the policy says."""
        return self._ask_steps(owner, pieces, policy) if policy.step else self._ask_marks(owner, pieces, policy)

    def forget(self) -> None:
        """Forget everything."""
        self._until.clear()

    def _ask_steps(self, owner: bytes, pieces: Sequence[Piece], policy: Policy) -> Hit:
        stream = b"".join(_as_bytes(piece) for piece in pieces)
        size = policy.step * TOKEN_BYTES
        digest, read = hashlib.sha256(owner), 0
        for end in range(size, len(stream) + 1, size):
            digest.update(stream[end - size : end])
            name, tokens = digest.digest(), end // TOKEN_BYTES
            if self._knows(name) and tokens >= policy.minimum:
                read = tokens
            self._keep(name, policy.kept_s)
        return Hit(read)

    def _ask_marks(self, owner: bytes, pieces: Sequence[Piece], policy: Policy) -> Hit:
        names, ends = list(_names(owner, pieces)), list(accumulate(piece.tokens for piece in pieces))
        marks = [place for place, piece in enumerate(pieces) if piece.kept_s and ends[place] >= policy.minimum]
        if not marks:
            return NOTHING
        looked_at = {place for mark in marks for place in _before(mark, policy.lookback)}
        found = max((place for place in looked_at if self._knows(names[place])), default=None)
        read = 0 if found is None else ends[found]
        if found is not None:
            self._keep(names[found], 0)  # reading the entry extends its life
        for mark in marks:
            self._keep(names[mark], pieces[mark].kept_s)
        if not policy.bills_writes:
            return Hit(read)
        last_long = max((ends[mark] for mark in marks if pieces[mark].kept_s >= LONG_S), default=0)
        written = max(0, ends[marks[-1]] - read)
        return Hit(read, written, min(written, max(0, last_long - read)))

    def _knows(self, name: bytes) -> bool:
        return self._until.get(name, 0.0) > self._now()

    def _keep(self, name: bytes, kept_s: int) -> None:
        until = max(self._until.pop(name, 0.0), self._now() + kept_s)
        self._until[name] = until
        while len(self._until) > ENTRIES_MAX:
            del self._until[next(iter(self._until))]


def _as_bytes(piece: Piece) -> bytes:
    """`TOKEN_BYTES` bytes for each of the piece's tokens."""
    size = piece.tokens * TOKEN_BYTES
    return piece.content[:size] if len(piece.content) >= size else piece.content.ljust(size, b"\0")


def _names(owner: bytes, pieces: Sequence[Piece]) -> Iterator[bytes]:
    digest = hashlib.sha256(owner)
    for piece in pieces:
        digest.update(len(piece.content).to_bytes(8, "big") + piece.content)
        yield digest.digest()


def _before(mark: int, lookback: int | None) -> range:
    return range(0 if lookback is None else max(0, mark - lookback), mark + 1)
