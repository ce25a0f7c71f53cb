"""The body of `POST /v1/responses` that OpenAI reads, and what it says.

Source: OpenAI's API reference and openai-python 3.54 (read 2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from deploy.simulator.openai.body import Breakpoint, CacheOptions
from deploy.simulator.script import Said
from deploy.simulator.tools import ANY_JSON, AskedTools, Offer

ENCRYPTED = "reasoning.encrypted_content"


class Part(msgspec.Struct):
    """One part of a message or of a tool's output."""

    type: str
    text: str = ""
    refusal: str = ""
    image_url: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class Item(msgspec.Struct):
    """One item of the input: a message (whose type may be left out), a call, its output, or reasoning."""

    type: str = "message"
    id: str | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[Part] | None = None
    phase: Literal["commentary", "final_answer"] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None
    summary: list[Part] | None = None
    encrypted_content: str | None = None

    def parts(self) -> list[Part]:
        """The parts of the item's content or output; none if that is a text."""
        given = self.content if self.output is None else self.output
        return given if isinstance(given, list) else []

    def text(self) -> str:
        """The text of the item's content or output."""
        given = self.content if self.output is None else self.output
        return "".join(part.text or part.refusal for part in given) if isinstance(given, list) else given or ""


class Tool(msgspec.Struct, omit_defaults=True):
    """A tool on offer. Without `strict`, schemas become strict if they can be."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Named(msgspec.Struct):
    """A tool choice that names a tool."""

    type: str
    name: str | None = None


class Format(msgspec.Struct):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class Text(msgspec.Struct):
    """Options of the answer's text."""

    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(msgspec.Struct):
    """The effort, and which thoughts are shown."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponsesRequest(msgspec.Struct):
    """The fields that the simulator reads; the others are in `known.py`."""

    model: str
    input: str | list[Item] | None = None
    instructions: str | None = None
    include: list[str] | None = None
    max_output_tokens: int | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    store: bool | None = None
    stream: bool | None = None
    temperature: float | None = None
    text: Text | None = None
    tool_choice: Literal["auto", "none", "required"] | Named | None = None
    service_tier: str | None = None
    tools: list[Tool] | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: CacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None

    @property
    def items(self) -> list[Item]:
        """The input as items; a text is taken as the user's."""
        if isinstance(self.input, str):
            return [Item(role="user", content=self.input)]
        return self.input or []

    @property
    def effort(self) -> str | None:
        """The effort that was asked for."""
        return self.reasoning.effort if self.reasoning else None

    @property
    def summarises(self) -> bool:
        """True if a summary of the thoughts is asked for."""
        return self.reasoning is not None and self.reasoning.summary is not None

    @property
    def form(self) -> Format:
        """The form of the answer."""
        return (self.text and self.text.format) or Format("text")

    @property
    def schema(self) -> dict[str, Any] | None:
        """The schema of a JSON answer."""
        return None if self.form.type == "text" else self.form.schema or ANY_JSON


def talk_of(items: list[Item]) -> tuple[Said, ...]:
    """The conversation with its speakers; a call is a turn of the model without text."""
    return tuple(_said(items))


def _said(items: list[Item]) -> Iterator[Said]:
    for item in items:
        if item.type == "function_call":
            yield Said("model", "")
        elif item.type == "function_call_output":
            yield Said("tool", item.text())
        elif item.role in {"user", "assistant"}:
            yield Said("user" if item.role == "user" else "model", item.text())


def texts_of(body: ResponsesRequest) -> list[str]:
    """List the texts that are prompt: instructions, items, definitions of tools, and the answer's schema."""
    texts = [body.instructions] if body.instructions else []
    texts += [
        (item.name or "") + (item.arguments or "") + item.text() for item in body.items if item.type != "reasoning"
    ]
    texts += [msgspec.json.encode(tool).decode() for tool in body.tools or ()]
    return [*texts, msgspec.json.encode(body.schema).decode()] if body.schema else texts


def asked_of(body: ResponsesRequest) -> AskedTools:
    """The tools, the tool choice and the form of the answer in a request."""
    choice = body.tool_choice
    last = body.items[-1] if body.items else None
    return AskedTools(
        offers=tuple(Offer(tool.name or "", tool.parameters or {}) for tool in body.tools or ()),
        choice="auto" if choice is None or isinstance(choice, Named) else choice,
        only=choice.name if isinstance(choice, Named) else None,
        parallel=body.parallel_tool_calls is not False,
        result=last.text() if last and last.type == "function_call_output" else None,
        schema=body.schema,
    )
