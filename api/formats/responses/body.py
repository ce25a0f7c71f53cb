"""What `POST /v1/responses` takes: the fields of OpenAI's API, and of each what can be honoured here.

Facts as of openai-python 3.54 and recorded clients, read 2026-11. Null always means "not given".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec

from api.formats.cache_marks import MarkField, PromptCacheOptions, caching_of, unknown_options, wishes_for
from api.formats.openai.labels import LabelsOrMore, labels_in
from api.formats.openai.messages import ToolName
from api.formats.responses.items import AnyItem
from api.formats.responses.offer import OfferedResponseTool, ResponseChoice
from api.formats.responses.parts import Strict
from api.formats.wishes import Wishes, wishes_of
from shared.chat import MESSAGES_CEILING, TOOLS_CEILING, Caching, JsonAnswer, Probability, Sampling, Temperature, Tokens
from shared.errors import InvalidRequest
from shared.json_bounds import refuse_depth
from shared.lanes import ServiceTier

INCLUDED_MAX = 64
ENCRYPTED = "reasoning.encrypted_content"
WISHES: dict[str, tuple[object, ...]] = {
    "include": ([], [ENCRYPTED]),
    "service_tier": ("auto", "default", "flex"),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
"""Fields that are left out and named when they ask for anything else than what happens anyway."""
REFUSED = {
    "conversation": "no conversations are kept here: continue with `previous_response_id`, or send all items",
    "prompt": "no templates are kept here: send the text itself",
}


class TextForm(Strict, frozen=True, tag="text", tag_field="type"):
    """The default."""


class ObjectForm(Strict, frozen=True, tag="json_object", tag_field="type"):
    """Some JSON object."""


class SchemaForm(Strict, frozen=True, tag="json_schema", tag_field="type", kw_only=True):
    """JSON that follows `schema`."""

    name: ToolName
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError`."""
        refuse_depth(schema=self.schema)


class TextConfig(Strict, frozen=True, kw_only=True):
    """The form of the answer, and a wish for how long it is to be."""

    format: TextForm | ObjectForm | SchemaForm | None = None
    verbosity: str | None = None


class ReasoningConfig(Strict, frozen=True, kw_only=True):
    """An effort, and whether what the model thinks is to be shown: as its vendor does, whatever the kind of `summary`."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class ResponseStreamOptions(Strict, frozen=True, kw_only=True):
    """Obfuscation is never added, so it may be declined."""

    include_obfuscation: bool | None = None


class ResponseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body; `models` are others to fall back on, in order. What it has besides is left out and named in `x-ignored`, as
    are wishes that the model lacks.
    """

    model: str
    input: str | Annotated[list[AnyItem], msgspec.Meta(max_length=MESSAGES_CEILING)] | None = None
    instructions: str | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    tools: Annotated[list[OfferedResponseTool], msgspec.Meta(max_length=TOOLS_CEILING)] | None = None
    tool_choice: ResponseChoice | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    metadata: LabelsOrMore | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: str | None = None
    models: list[str] | None = None
    # see WISHES
    include: Annotated[list[str], msgspec.Meta(max_length=INCLUDED_MAX)] | None = None
    service_tier: str | None = None
    top_logprobs: int | None = None
    truncation: str | None = None
    # see REFUSED
    conversation: Any = None
    prompt: Any = None

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec makes a fault of the body."""
        refuse_depth(**{field: getattr(self, field) for field in ("metadata", *REFUSED)})

    @property
    def labels(self) -> dict[str, str]:
        """The labels of `metadata` that OpenAI's API would take, which are kept."""
        return labels_in(self.metadata)

    @property
    def items(self) -> Sequence[AnyItem]:
        """The items of `input`; a text is none. What goes on from an earlier response may have none of its own."""
        return () if self.input is None or isinstance(self.input, str) else self.input

    @property
    def tier(self) -> ServiceTier | None:
        """Other tiers are wishes: they are left out."""
        return "flex" if self.service_tier == "flex" else None

    @property
    def is_stored(self) -> bool:
        """Whether answer and input are kept."""
        return self.store is not False

    @property
    def caching(self) -> Caching:
        """What is wished of OpenAI's cache besides marks."""
        return caching_of(self.prompt_cache_key, self.prompt_cache_options, self.prompt_cache_retention)

    @property
    def summary(self) -> str | None:
        """The kind of summary that is asked for; None for none."""
        reasoning = self.reasoning or ReasoningConfig()
        return reasoning.summary or reasoning.generate_summary

    @property
    def wants_encrypted(self) -> bool:
        """Whether thoughts come with what they are known by when they are sent back."""
        return ENCRYPTED in (self.include or ())

    def wishes(self, unknown: Sequence[str], marks: Iterable[MarkField], *, strict_tools: bool) -> Wishes:
        """What may be left out; `unknown` are the fields of the body that are not here, `marks` those for the cache."""
        known = [field for field, nothing in WISHES.items() if getattr(self, field) not in (None, *nothing)]
        if self.text and self.text.verbosity not in {None, "medium"}:
            known.append("text.verbosity")
        if self.metadata and self.metadata != self.labels:
            known.append("metadata")
        reasoning = self.reasoning or ReasoningConfig()
        return wishes_of(
            [*unknown, *known, *unknown_options(self.prompt_cache_options, self.prompt_cache_retention)],
            effort=reasoning.effort,
            effort_field="reasoning.effort",
            marks=marks,
            others={
                **wishes_for(self.caching),
                "user": "user" if self.user else "safety_identifier" if self.safety_identifier else None,
                "strict_tools": "tools[].strict" if strict_tools else None,
                "shown_thoughts": "reasoning.summary" if self.summary else None,
            },
        )

    def sampling(self, wishes: Wishes) -> Sampling:
        """What concerns the vendor."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            reasoning_effort=wishes.effort,
            shows_thoughts=bool(self.summary),
            signs_thoughts=self.wants_encrypted or (self.is_stored and bool(self.summary)),
            json_answer=_json_answer(self.text),
            user=self.user or self.safety_identifier,
            caching=self.caching,
        )


def check(body: ResponseRequest) -> None:
    """Raises `InvalidRequest` that names the field which cannot be honoured."""
    for name, why in REFUSED.items():
        if getattr(body, name) is not None:
            raise InvalidRequest(f"`{name}`: {why}.", param=name)
    if body.input is None and not body.previous_response_id:
        raise InvalidRequest("`input` is missing: it needs a text or items.", param="input")
    if body.background and not body.is_stored:
        raise InvalidRequest("`background` needs `store`: its answer is fetched later.", param="background")


def _json_answer(text: TextConfig | None) -> JsonAnswer | None:
    match text.format if text else None:
        case ObjectForm():
            return JsonAnswer()
        case SchemaForm() as wanted:
            return JsonAnswer(
                name=wanted.name, description=wanted.description, schema=wanted.schema, strict=wanted.strict
            )
        case _:
            return None
