"""Amazon Bedrock's Converse and ConverseStream: one JSON form for every chat model, or AWS event-stream frames.

Source: the Bedrock runtime API reference, and the texts of its ValidationExceptions as users report them.
"""

from __future__ import annotations

import uuid
from itertools import pairwise
from typing import Any

import msgspec
from aiohttp import web

from deploy.simulator import answer
from deploy.simulator.acts import Wire
from deploy.simulator.bedrock import rules
from deploy.simulator.bedrock.caching import check_points, pieces_of, policy_of
from deploy.simulator.bedrock.companies import check_company, check_sampling
from deploy.simulator.bedrock.constraints import STOPS_MAX, check_count, check_length, check_range
from deploy.simulator.bedrock.models import Model
from deploy.simulator.bedrock.rules import invalid, malformed
from deploy.simulator.bedrock.thinking import check_calm, check_fields, thinks
from deploy.simulator.bedrock.thoughts import check_thoughts, content_json
from deploy.simulator.bedrock.tool_rules import check_tools
from deploy.simulator.bedrock.tools import Block, ToolConfig, Turn, asked_of, images_in, text_of, texts_of
from deploy.simulator.bedrock.wire import (
    ConverseWire,
    shows_thoughts,
    stop_reason,
    tool_use_id,
    usage_json,
)
from deploy.simulator.caching import Prompt
from deploy.simulator.exchange import Question, Refusal, Told, fault_refusal, serve
from deploy.simulator.script import Said
from deploy.simulator.tools import AskedTools, read_arguments


class InferenceConfig(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The limits and the sampling options."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] = []


class ConverseRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The fields of the service; fields of type `Any` are not checked."""

    messages: list[Turn] = []
    system: list[Block] = []
    inference_config: InferenceConfig = msgspec.field(default_factory=InferenceConfig)
    tool_config: ToolConfig | None = None
    additional_model_request_fields: dict[str, Any] = {}
    additional_model_response_field_paths: Any = None
    guardrail_config: Any = None
    performance_config: Any = None
    prompt_variables: Any = None
    request_metadata: Any = None
    service_tier: Any = None


class Converse:
    """The dialect of `/model/{modelId}/converse` and `/converse-stream`."""

    api = "bedrock-converse"
    stream_type = "application/vnd.amazon.eventstream"
    refusals = rules.REFUSALS
    wrong_key = rules.WRONG_KEY
    no_credit = rules.NO_CREDIT
    retired = rules.RETIRED
    blocked: Refusal | None = None
    above_limit: Refusal | None = None

    def read(self, request: web.Request, raw: bytes) -> Question:
        """Understand a request; raises `Refusal` when it is not signed or not Converse's JSON."""
        rules.check_signed(request)
        try:
            body = msgspec.json.decode(raw, type=ConverseRequest)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise malformed(error) from None
        model_id = request.match_info["model"]
        texts = [text_of(body.system)] * bool(body.system) + [text_of(turn.content) for turn in body.messages]
        extra = texts_of(body.messages, body.tool_config)
        model = rules.known_model(model_id)
        return Question(
            model=model_id,
            talk=tuple(
                Said("model" if turn.role == "assistant" else "user", text_of(turn.content)) for turn in body.messages
            ),
            prompt_tokens=answer.prompt_tokens([*texts, *extra], images_in(body.messages)),
            limit=body.inference_config.max_tokens or (model.output_max if model else 0),
            stops=tuple(body.inference_config.stop_sequences),
            stream=request.path.endswith("-stream"),
            body=body,
            asked=asked_of(body.messages, body.tool_config),
            thinks=model is not None and thinks(body.additional_model_request_fields, model),
            prompt=_prompt(request, body, model) if model and model.cache_minimum else None,
        )

    def check(self, question: Question) -> None:
        """Check a request against Converse's rules and the model's; raises `Refusal`."""
        model = rules.find_model(question.model)
        body: ConverseRequest = question.body
        _check_values(body.inference_config, model)
        _check_feature_set(body, model, stream=question.stream)
        check_fields(body.additional_model_request_fields, model, body.inference_config.max_tokens)
        _check_turns(body.messages, model)
        check_thoughts(body, model)
        check_tools(body.messages, body.tool_config, model, stream=question.stream)
        check_points(body.system, body.messages, body.tool_config, model)
        sampling = body.inference_config.temperature, body.inference_config.top_p
        check_calm(body.additional_model_request_fields, model, sampling, _choice(question.asked))
        check_sampling(model, body.inference_config.temperature, body.inference_config.top_p)
        stops, fields = body.inference_config.stop_sequences, body.additional_model_request_fields
        check_company(model, body.messages, stops, body.tool_config, fields)
        rules.check_limits(model, body.inference_config.max_tokens, question.prompt_tokens)

    def refuse(self, refusal: Refusal) -> web.Response:
        """A refusal."""
        return rules.refuse(refusal)

    def complaint(self, refusal: Refusal) -> bytes:
        """The error object that may stand in a 200."""
        return rules.complaint(refusal)

    def headers(self, told: Told) -> dict[str, str]:
        """The request id."""
        return {"x-amzn-RequestId": str(uuid.UUID(int=told.ordinal))}

    def body(self, told: Told) -> bytes:
        """The whole answer."""
        model = rules.find_model(told.question.model)
        thought = [{"reasoningContent": content_json(told, model)}] if shows_thoughts(told) else []
        content: list[dict[str, Any]] = [*thought]
        content += [{"text": told.reply.text}] if told.reply.text else []
        content += [
            {"toolUse": {"toolUseId": tool_use_id(told, i), "name": call.name, "input": read_arguments(call.arguments)}}
            for i, call in enumerate(told.reply.calls)
        ]
        usage = {"usage": usage_json(told.usage)} if told.usage else {}
        answer_json = {
            "metrics": {"latencyMs": 1},
            "output": {"message": {"content": content, "role": "assistant"}},
            "stopReason": stop_reason(told),
            **usage,
        }
        return msgspec.json.encode(answer_json)

    def wire(self, told: Told) -> Wire:
        """The answer in event-stream frames."""
        return ConverseWire(told, fault_refusal(self, told.script))


async def converse(request: web.Request) -> web.StreamResponse:
    """Serve `POST /bedrock/model/{modelId}/converse` and `/converse-stream`."""
    return await serve(request, CONVERSE)


def _prompt(request: web.Request, body: ConverseRequest, model: Model) -> Prompt:
    """The prompt for the cache. The signer is known by the beginning of the signature; the rest of the signature
    differs between requests.
    """
    signer = request.headers["Authorization"].partition("/")[0]
    owner = f"{model.id} {signer}".encode()
    return Prompt(owner, lambda: pieces_of(body.system, body.messages, body.tool_config, model), policy_of(model))


def _choice(asked: AskedTools) -> str:
    return "named" if asked.only else asked.choice


def _check_values(config: InferenceConfig, model: Model) -> None:
    check_range("inferenceConfig.maxTokens", config.max_tokens, 1)
    if config.max_tokens is not None and config.max_tokens < model.output_min:
        raise invalid(
            "The model returned the following errors: Invalid 'max_output_tokens': integer below minimum value. Expected a "
            f"value >= {model.output_min}, but got {config.max_tokens} instead."
        )
    if config.stop_sequences and not model.stops:
        raise invalid("This model doesn't support the stopSequences field. Remove stopSequences and try again.")
    check_range("inferenceConfig.temperature", config.temperature, 0, 1)
    check_range("inferenceConfig.topP", config.top_p, 0, 1)
    check_count("inferenceConfig.stopSequences", config.stop_sequences, STOPS_MAX)
    for i, stop in enumerate(config.stop_sequences, start=1):
        check_length(f"inferenceConfig.stopSequences.{i}.member", stop)


def _check_feature_set(body: ConverseRequest, model: Model, *, stream: bool) -> None:
    if stream and model.invoke == "j2":
        raise invalid("This action doesn't support the model that you provided. Try again with a supported model.")
    if body.system and not model.system:
        raise invalid(
            "This model doesn't support system messages. Try again without a system message or use a model that "
            "supports system messages."
        )
    for i, block in enumerate(body.system):
        if block.text is not None and not block.text.strip():
            raise invalid(f"The text field in the ContentBlock object at system.{i} is blank. Add text, and try again.")
    if not model.images and any(block.image is not None for turn in body.messages for block in turn.content):
        raise invalid("This model doesn't support the image content block that you provided. Update it and try again.")


def _check_turns(turns: list[Turn], model: Model) -> None:
    if not turns or turns[0].role != "user":
        raise invalid(
            "A conversation must start with a user message. Try again with a conversation that starts with a user "
            "message."
        )
    if len(turns) > 1 and not model.chat:
        raise invalid("This model doesn't support conversation history. Try again with one user message.")
    if any(before.role == after.role for before, after in pairwise(turns)):
        raise invalid(
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates "
            "between user and assistant roles and try again."
        )
    if turns[-1].role == "assistant" and not model.prefill:
        raise invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    _check_blocks(turns)


def _check_blocks(turns: list[Turn]) -> None:
    for i, turn in enumerate(turns):
        if not turn.content:
            raise invalid(
                f"The content field in the Message object at messages.{i} is empty. Add a ContentBlock object."
            )
        for j, block in enumerate(turn.content):
            if sum(one is not None for one in msgspec.structs.astuple(block)) != 1:
                raise invalid(
                    f"The ContentBlock object at messages.{i}.content.{j} must set one of its keys, and only one."
                )
            if block.text is not None and not block.text.strip():
                raise invalid(
                    f"The text field in the ContentBlock object at messages.{i}.content.{j} is blank. Add text to the "
                    "text field, and try again."
                )


CONVERSE = Converse()
