"""Converse's cache of prompts: it keeps the beginning of a prompt up to a `cachePoint`, and refuses some points.

Sources, read 2026-11: docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html; refusals of models as users
report them: "You invoked an unsupported model or your request did not allow prompt caching"
(github.com/BerriAI/litellm/pull/39210), "extraneous key [cachePoint] is not permitted" of Nova's tools and results
(github.com/LibreChat-AI/agents/pull/253, github.com/earendil-works/pi/issues/2053), "Extended TTL prompt caching is
only supported for Anthropic models" (github.com/timothy-agent/timothy/issues/755), "A maximum of 4 blocks with
cache_control may be provided. Found 5." (github.com/tghamm/Anthropic.SDK/issues/50), and the order of times to live
(github.com/cnighswonger/claude-code-cache-fix/issues/44).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import msgspec

from deploy.simulator.bedrock.models import Model
from deploy.simulator.bedrock.rules import invalid
from deploy.simulator.bedrock.tools import Block, CachePoint, ToolConfig, Turn, result_text
from deploy.simulator.caching import LONG_S, LOOKBACK, SHORT_S, Piece, Policy, Spoken, picture, rest
from deploy.simulator.exchange import Refusal

POINTS_MAX = 4
UNSUPPORTED = Refusal(
    403,
    "AccessDeniedException",
    "You invoked an unsupported model or your request did not allow prompt caching. See the documentation for more "
    "information.",
)


class Placed(NamedTuple):
    """A cache point and its place, in the service's words."""

    where: str
    point: CachePoint


def policy_of(model: Model) -> Policy:
    """The caching policy of a model. GPT keeps all of a prompt without being asked (`pieces_of`); the others keep what
    comes before a point.
    """
    return Policy(minimum=model.cache_minimum, lookback=LOOKBACK, bills_writes=True)


def pieces_of(system: list[Block], turns: list[Turn], config: ToolConfig | None, model: Model) -> list[Piece]:
    """The prompt in the vendor's order: tools, instructions, messages."""
    pieces: list[Piece] = []
    for entry in config.entries if config else ():
        _add(pieces, rest(msgspec.json.encode({"toolSpec": entry.tool_spec})) if entry.tool_spec else entry.cache_point)
    for role, blocks in [("system", system)] * bool(system) + [(turn.role, turn.content) for turn in turns]:
        spoken = Spoken(role)
        pieces.append(spoken.opening)
        for block in blocks:
            for one in _pieces(block, spoken):
                _add(pieces, one)
    if model.caches_unasked and pieces:
        pieces[-1] = msgspec.structs.replace(pieces[-1], kept_s=SHORT_S)
    return pieces


def check_points(system: list[Block], turns: list[Turn], config: ToolConfig | None, model: Model) -> None:
    """Check cache points against Converse's rules and the model's; raises `Refusal`."""
    points = list(_points(system, turns, config))
    if not points:
        return
    if not model.cache_points:
        raise UNSUPPORTED
    if not model.id.startswith("anthropic."):
        _check_nova(points, turns)
        return
    if len(points) > POINTS_MAX:
        words = f"A maximum of {POINTS_MAX} blocks with cache_control may be provided. Found {len(points)}."
        raise _said(words)
    for (_, before), (where, after) in pairwise(points):
        if after.ttl == "1h" and before.ttl != "1h":
            raise _said(
                f"{where}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control "
                "block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."
            )


def _check_nova(points: list[Placed], turns: list[Turn]) -> None:
    if any(placed.point.ttl == "1h" for placed in points):
        raise invalid("Extended TTL prompt caching is only supported for Anthropic models")
    results = {i for i, turn in enumerate(turns) if any(b.tool_result or b.tool_use for b in turn.content)}
    for where, _ in points:
        in_results = where.startswith("messages.") and int(where.split(".")[1]) in results
        if where.startswith("tools.") or in_results:
            raise invalid(
                "The model returned the following errors: Malformed input request: "
                f"#/{where.replace('.', '/')}: extraneous key [cachePoint] is not permitted, please reformat your input and "
                "try again."
            )


def _points(system: list[Block], turns: list[Turn], config: ToolConfig | None) -> Iterator[Placed]:
    for i, entry in enumerate(config.entries if config else ()):
        if entry.cache_point:
            yield Placed(f"tools.{i}", entry.cache_point)
    for i, block in enumerate(system):
        if block.cache_point:
            yield Placed(f"system.{i}", block.cache_point)
    for i, turn in enumerate(turns):
        for j, block in enumerate(turn.content):
            if block.cache_point:
                yield Placed(f"messages.{i}.content.{j}", block.cache_point)


def _pieces(block: Block, spoken: Spoken) -> Iterator[Piece | CachePoint]:
    if block.cache_point:
        yield block.cache_point
    elif block.text is not None:
        yield spoken.text(block.text)
    elif block.image:
        yield picture(block.image.source.bytes.encode())
    elif block.tool_use:
        yield rest(block.tool_use.name.encode() + msgspec.json.encode(block.tool_use.input))
    elif block.tool_result:
        yield rest(result_text(block.tool_result).encode())
        yield from (picture(part.image.source.bytes.encode()) for part in block.tool_result.content if part.image)


def _add(pieces: list[Piece], one: Piece | CachePoint | None) -> None:
    """Add a piece; a point marks the piece before it."""
    if isinstance(one, Piece):
        pieces.append(one)
    elif one and pieces:
        pieces[-1] = msgspec.structs.replace(pieces[-1], kept_s=LONG_S if one.ttl == "1h" else SHORT_S)


def _said(words: str) -> Refusal:
    return invalid(f"The model returned the following errors: {words}")
