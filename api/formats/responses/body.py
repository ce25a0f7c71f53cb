"""The body of `POST /v1/responses`, and the rules for fields that cannot be honoured.

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
"""Fields that are left out and named unless they have one of these values, which change nothing."""
REFUSED = {
    "conversation": "no conversations are kept here: continue with `previous_response_id`, or send all items",
    "prompt": "no templates are kept here: send the text itself",
}


class TextForm(Strict, frozen=True, tag="text", tag_field="type"):
    """A form of the answer: text, which is the default."""


class ObjectForm(Strict, frozen=True, tag="json_object", tag_field="type"):
    """A form of the answer: any JSON object."""


class SchemaForm(Strict, frozen=True, tag="json_schema", tag_field="type", kw_only=True):
    """A form of the answer: JSON that follows a schema."""

    name: ToolName
    """A name for the schema: 1 to 128 letters, digits and any of `_.:/-`."""
    schema: dict[str, Any]
    """The JSON Schema; the keywords that it may contain depend on the model's vendor."""
    description: str | None = None
    """A text that says what the answer is for; the model reads it."""
    strict: bool | None = None
    """True makes the answer follow the schema for sure; it is passed on to vendors that have the option. False by
    default.
    """

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(schema=self.schema)


class TextConfig(Strict, frozen=True, kw_only=True):
    """The form and the length of the answer."""

    format: TextForm | ObjectForm | SchemaForm | None = None
    """The form of the answer: text (the default), a JSON object, or JSON that follows a schema."""
    verbosity: str | None = None
    """Only `medium`, which changes nothing; any other value is left out and named in `x-ignored`."""


class ReasoningConfig(Strict, frozen=True, kw_only=True):
    """The reasoning effort of the model, and whether its thoughts are shown."""

    effort: str | None = None
    """One of the model's `reasoning_efforts` in `GET /api/models`; another known effort becomes the nearest one that
    the model has.
    """
    summary: str | None = None
    """Any value shows the thoughts, in the form that the model's vendor gives them. Left out, they are not shown."""
    generate_summary: str | None = None
    """The older name of `summary`, which wins if both are given."""


class ResponseStreamOptions(Strict, frozen=True, kw_only=True):
    """Options of a stream; none of them changes anything here."""

    include_obfuscation: bool | None = None
    """Accepted and without effect: obfuscation is never added."""


class ResponseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/responses`. Unknown fields, and wishes that the model lacks, are left out and named in
    `x-ignored`.
    """

    model: str
    """A name or an alias of `GET /v1/models`."""
    input: str | Annotated[list[AnyItem], msgspec.Meta(max_length=MESSAGES_CEILING)] | None = None
    """A text, or a list of items: messages, calls and their outputs. It may be left out with `previous_response_id`."""
    instructions: str | None = None
    """Instructions for this response alone. They do not hold for a response that continues it."""
    stream: bool | None = None
    """True sends the response as server-sent events. False by default."""
    stream_options: ResponseStreamOptions | None = None
    """Options of the stream."""
    max_output_tokens: Tokens | None = None
    """The most output tokens of the response, reasoning included; by default 4,096 (16,384 for reasoning models). The
    limit is lowered to the model's maximum and to what the account can afford; `x-output-limit` says which limit
    applies.
    """
    temperature: Temperature | None = None
    """The sampling temperature, passed on to the vendor. A model that takes none refuses any value but 1, its
    default.
    """
    top_p: Probability | None = None
    """The sampling bound `top_p`, passed on to the vendor. A model that takes none refuses any value but 1, its
    default.
    """
    text: TextConfig | None = None
    """The form and the length of the answer."""
    reasoning: ReasoningConfig | None = None
    """The reasoning effort of the model, and whether its thoughts are shown."""
    tools: Annotated[list[OfferedResponseTool], msgspec.Meta(max_length=TOOLS_CEILING)] | None = None
    """The tools that the model may call. Tools that a vendor would run itself are left out."""
    tool_choice: ResponseChoice | None = None
    """A choice of tools: the model may (`auto`, the default), must not (`none`) or must (`required`) call one, or must
    call a certain one.
    """
    parallel_tool_calls: bool | None = None
    """False allows one call in an answer at most. True by default."""
    store: bool | None = None
    """True keeps the answer and the input for 24 hours. True by default."""
    background: bool | None = None
    """True answers at once, and the response runs on when the caller leaves; it needs `store`. False by default."""
    previous_response_id: str | None = None
    """The id of a stored response that this one continues."""
    metadata: LabelsOrMore | None = None
    """Up to 16 labels (names of up to 64, values of up to 512 characters), which the response repeats."""
    user: str | None = None
    """Your own name for your user. OpenAI's models are told it; for others it is left out."""
    safety_identifier: str | None = None
    """The newer name of `user`; it wins if both are given."""
    prompt_cache_key: str | None = None
    """A key that requests with the same beginning share. OpenAI's models are told a digest of it; for others it is left
    out.
    """
    prompt_cache_options: PromptCacheOptions | None = None
    """OpenAI's cache options; they are left out for models that do not have them."""
    prompt_cache_retention: str | None = None
    """`in_memory` or `24h`, for OpenAI's models that take it; for others it is left out."""
    models: list[str] | None = None
    """Fallback models, in order, for the case that `model` cannot be had; `x-model-served` names the model that
    answered.
    """
    # see WISHES
    include: Annotated[list[str], msgspec.Meta(max_length=INCLUDED_MAX)] | None = None
    """Additional output. Only `reasoning.encrypted_content`, which adds the signatures with which thoughts may be sent
    back; other values are left out.
    """
    service_tier: str | None = None
    """The service tier. `flex` is slower, at the model's flex price; a model without one answers with a 400. `auto` and
    `default` change nothing; any other value is left out.
    """
    top_logprobs: int | None = None
    """0, which changes nothing. Any other value is left out and named in `x-ignored`: log probabilities are never
    given.
    """
    truncation: str | None = None
    """Only `disabled`, which changes nothing; any other value is left out and named in `x-ignored`."""
    # see REFUSED
    conversation: Any = None
    """Refused unless null: continue with `previous_response_id`, or send all items."""
    prompt: Any = None
    """Refused unless null: no prompt templates are kept here."""

    def __post_init__(self) -> None:
        """Raises `ValueError`, which msgspec reports as an error of the body."""
        refuse_depth(**{field: getattr(self, field) for field in ("metadata", *REFUSED)})

    @property
    def labels(self) -> dict[str, str]:
        """The labels in `metadata` that OpenAI's API would take, which are kept."""
        return labels_in(self.metadata)

    @property
    def items(self) -> Sequence[AnyItem]:
        """The items of `input`; none if it is a text, or if only an earlier response is continued."""
        return () if self.input is None or isinstance(self.input, str) else self.input

    @property
    def tier(self) -> ServiceTier | None:
        """The service tier `flex`, or None. Other tiers are wishes and left out."""
        return "flex" if self.service_tier == "flex" else None

    @property
    def is_stored(self) -> bool:
        """True if answer and input are stored."""
        return self.store is not False

    @property
    def caching(self) -> Caching:
        """OpenAI's cache options beside marks."""
        return caching_of(self.prompt_cache_key, self.prompt_cache_options, self.prompt_cache_retention)

    @property
    def summary(self) -> str | None:
        """The kind of summary that is asked for, or None."""
        reasoning = self.reasoning or ReasoningConfig()
        return reasoning.summary or reasoning.generate_summary

    @property
    def wants_encrypted(self) -> bool:
        """True if the answer has the signatures of thoughts, so that these can be sent back."""
        return ENCRYPTED in (self.include or ())

    def wishes(self, unknown: Sequence[str], marks: Iterable[MarkField], *, strict_tools: bool) -> Wishes:
        """Everything that may be left out. `unknown` are the body's unknown fields, `marks` those with cache marks."""
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
        """The options that are sent to the vendor."""
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
    """Raise `InvalidRequest` for a field that cannot be honoured, and name it."""
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
