"""Recognises vendors' refusals that are the caller's fault, by their words, and gives the message for the caller.

Faults that can be known beforehand are refused before anything is held (`shared/catalogue/faults.py`); these are the
rest. A refusal in unknown words means that this service asked wrongly, and an operator is alerted
(`workers/request/reporting.py`).
"""

from __future__ import annotations

import re

from shared.errors import InvalidRequest


def _words(*forms: str) -> re.Pattern[str]:
    return re.compile("|".join(forms), re.IGNORECASE | re.DOTALL)


POLICY = _words(
    r"rejected as a result of our safety system|violating our usage policy",  # OpenAI, its reasoning models
    r"content management policy|content exists risk|blocked by (our )?content filter|content[ _]policy",  # Azure, DeepSeek
)
IMAGE = _words(
    r"unsupported image|invalid (base64 )?image|image data you provided",  # OpenAI
    r"failed to (parse|decode|process|download) .{0,20}image",
    r"image (dimensions? )?exceeds?|could not process image|image was specified using|image\.source",  # Claude
    r"image does not match|image\.format|(too many|number of) images",  # Bedrock, Nova
    r"image (block|format|size).{0,40}(invalid|not supported|exceed)",
    r"too much media",  # Claude
    r"unable to process input image|unsupported mime type|inline_data|fewer than \d+ images",  # Gemini
)
SCHEMA = _words(
    r"invalid schema for|json_schema.{0,80}(invalid|unsupported|too|must)",  # OpenAI, DeepSeek
    r"input_schema|inputschema",  # Claude, Bedrock
    r"undefined schema|schema (at|produces|is too|nesting)|function_declarations\[\d+\]\.parameters",  # Gemini
)
THOUGHTS = _words(
    r"invalid .?signature.? in .?thinking|thinking.{0,80}cannot be modified|bound to a different conversation",  # Claude
    r"(corrupted|invalid) thought.?signature|thought.?signature is not valid",  # Gemini
    r"encrypted.?content.{0,80}(verified|decrypted)|'reasoning' was provided without|required 'reasoning' item",  # OpenAI
    r"item with id .{0,200}not found",  # OpenAI's Responses, with status 404
)
HISTORY = _words(
    r"'tool_calls'|'tool_call_id'|insufficient tool messages|role 'tool'",  # OpenAI, DeepSeek
    r"no tool (output|call) found for function call|duplicate (function|tool) call",  # OpenAI's Responses
    r"expected toolresult blocks|number of toolresult blocks|duplicate ids",  # Bedrock
    r"tool_use.? ids (must|were)|unexpected .?tool_(use|result)",  # Claude
    r"function (call|response) (turn|parts)",  # Gemini
)
TURNS = _words(
    r"must (alternate|start with a user|end with a user)|contentblock object at .{0,60}(blank|empty)",  # Bedrock
    r"content field .{0,60}empty",
    r"roles must alternate|first message must|assistant message prefill|trailing whitespace",  # Claude
    r"text content blocks must|non-?empty content",
    r"successive user or assistant|last message of",  # DeepSeek
    r"'messages[^']*': empty",  # OpenAI
    r"multiturn requests|must not be empty|required oneof field 'data'",  # Gemini
)
OPTION = _words(  # the option's value is at fault; the output limit is chosen by this service
    r"(temperature|top_?p|top_?k|stop_?sequences?|\bstop\b|\bseed\b|penalt(y|ies)).{0,120}?"
    r"(valid range|supported range|in the range|must (be|not|contain|have)|(above|below) (the )?m(ax|in)imum"
    r"|less (than )?or equal|greater (than )?or equal|array too long|maximum length|not enabled)",
    r"maximum item count|ensure this value|cannot both be specified",  # Jurassic and Command, Mistral, Claude
)
JSON_WORD = _words(r"must contain the word 'json'")
SIZE = _words(
    r"description': string too long",  # OpenAI; names and ids are converted by this service
    r"request payload size exceeds",  # Gemini
)

THOUGHTS_MEAN = (
    "The vendor refuses a thought in `messages`: send it back unchanged, behind all that came before it, or not at all."
)
TOO_LARGE = "The request, or a text in it, is longer than the vendor takes: send less, or part what is long."
UNUSABLE_IMAGE = (
    "The vendor cannot use an image in `messages`: send whole png, jpeg or webp files of a few megabytes, not too many."
)
MEANINGS = (
    (POLICY, "The vendor's rules for contents forbid this prompt: change it, or take another model."),
    (SCHEMA, "The vendor cannot use the JSON Schema of one of `tools`, or of the answer: make it simpler."),
    (IMAGE, UNUSABLE_IMAGE),
    (SIZE, TOO_LARGE),
    (JSON_WORD, "The vendor wants the word JSON somewhere in `messages` for an answer in JSON: ask for it there."),
    (OPTION, "The vendor does not take the value of an option, such as temperature, top_p or stop, with this model."),
    (
        HISTORY,
        "The vendor refuses `messages`: each tool call needs its result right after it, and each result its call.",
    ),
    (
        TURNS,
        "The vendor refuses the order of `messages`, or an empty one: user and assistant take turns, the user first.",
    ),
)
"""The meanings of vendors' words; the first that matches counts. The words are those of vendors' errors as users report
them, read 2026-11; the simulator (`deploy/simulator`) and `vendor_limits.py` name single sources.
"""


class ThoughtsRefused(InvalidRequest):
    """The vendor does not recognise a thought that is said to be its own. The request may be repeated without thoughts."""


def callers_fault(prose: str) -> InvalidRequest | None:
    """The error for the caller, in this service's own words; None if the vendor's words are unknown."""
    if THOUGHTS.search(prose):
        return ThoughtsRefused(THOUGHTS_MEAN)
    return next((InvalidRequest(meaning) for known, meaning in MEANINGS if known.search(prose)), None)


def too_large() -> InvalidRequest:
    """The error if the vendor's status says that the request is too large."""
    return InvalidRequest(TOO_LARGE)


def forbidden() -> InvalidRequest:
    """The error if the vendor's code says that its rules forbid the prompt."""
    return InvalidRequest(MEANINGS[0][1])


def unusable_image() -> InvalidRequest:
    """The error if the vendor's code says that it cannot use an image."""
    return InvalidRequest(UNUSABLE_IMAGE)
