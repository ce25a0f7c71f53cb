"""Amazon Bedrock's InvokeModel for the models with bodies of their own: AI21 Jurassic-2 and Cohere Command.

Source: the "inference parameters for foundation models" pages of the Bedrock user guide.
"""

from __future__ import annotations

import base64
import uuid
from typing import Any

import msgspec
from aiohttp import web

from deploy.simulator import answer
from deploy.simulator.acts import Wire
from deploy.simulator.answer import CallText, Usage
from deploy.simulator.bedrock import eventstream, rules
from deploy.simulator.bedrock.rules import invalid, malformed
from deploy.simulator.exchange import Question, Refusal, Told, fault_refusal, serve
from deploy.simulator.script import Said

J2_STOPS_MAX, COMMAND_STOPS_MAX = 1, 4
_J2_LIMIT_DEFAULT = 200
_COMMAND_LIMIT_DEFAULT = 20
_J2_REASONS = {"stop": "endoftext", "stop_sequence": "stop", "length": "length"}
_COMMAND_REASONS = {"stop": "COMPLETE", "stop_sequence": "COMPLETE", "length": "MAX_TOKENS"}


class J2Request(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body of Jurassic-2."""

    prompt: str
    max_tokens: int = _J2_LIMIT_DEFAULT
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] = []
    count_penalty: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None


class CommandRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of Command."""

    prompt: str
    max_tokens: int = _COMMAND_LIMIT_DEFAULT
    temperature: float | None = None
    p: float | None = None
    k: float | None = None
    stop_sequences: list[str] = []
    num_generations: int = 1
    return_likelihoods: str = "NONE"
    truncate: str = "END"
    stream: bool = False
    logit_bias: Any = None


class Invoke:
    """The dialect of `/model/{modelId}/invoke` and `/invoke-with-response-stream`."""

    api = "bedrock-invoke"
    stream_type = "application/vnd.amazon.eventstream"
    refusals = rules.REFUSALS
    wrong_key = rules.WRONG_KEY
    no_credit = rules.NO_CREDIT
    retired = rules.RETIRED
    blocked: Refusal | None = None
    above_limit: Refusal | None = None

    def read(self, request: web.Request, raw: bytes) -> Question:
        """Understand a request; raises `Refusal` when it is not signed or not the model's JSON."""
        rules.check_signed(request)
        model_id = request.match_info["model"]
        kinds: dict[str, type[J2Request | CommandRequest]] = {"j2": J2Request, "command": CommandRequest}
        kind = kinds.get(rules.find_model(model_id).invoke)
        if kind is None:
            raise invalid("Malformed input request: use the Converse API for this model.")
        try:
            body = msgspec.json.decode(raw, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise malformed(error) from None
        return Question(
            model=model_id,
            talk=(Said("user", body.prompt),),
            prompt_tokens=answer.prompt_tokens([body.prompt]),
            limit=body.max_tokens,
            stops=tuple(body.stop_sequences),
            stream=request.path.endswith("-stream"),
            body=body,
        )

    def check(self, question: Question) -> None:
        """Check a request against the model's rules; raises `Refusal`."""
        model = rules.find_model(question.model)
        if question.stream and model.invoke == "j2":
            raise invalid("The model is unsupported for streaming.")
        if not question.message.strip():
            raise invalid("Malformed input request: expected minLength: 1, actual: 0, please reformat your input.")
        _check_values(question.body)
        rules.check_limits(model, question.limit, question.prompt_tokens)

    def refuse(self, refusal: Refusal) -> web.Response:
        """A refusal."""
        return rules.refuse(refusal)

    def complaint(self, refusal: Refusal) -> bytes:
        """The error object that may stand in a 200."""
        return rules.complaint(refusal)

    def headers(self, told: Told) -> dict[str, str]:
        """The request id and, for a whole answer, the token counts."""
        headers = {"x-amzn-RequestId": str(uuid.UUID(int=told.ordinal))}
        if told.usage is not None and not told.question.stream:
            headers["X-Amzn-Bedrock-Input-Token-Count"] = str(told.usage.prompt)
            headers["X-Amzn-Bedrock-Output-Token-Count"] = str(told.usage.output)
            headers["X-Amzn-Bedrock-Invocation-Latency"] = "1"
        return headers

    def body(self, told: Told) -> bytes:
        """The whole answer in the model's own form."""
        return msgspec.json.encode(_j2(told) if isinstance(told.question.body, J2Request) else _command(told))

    def wire(self, told: Told) -> Wire:
        """Command's chunks; Jurassic-2 has none."""
        return CommandWire(self, told)


class CommandWire:
    """Command's chunks: JSON in base64 in JSON in a frame."""

    def __init__(self, dialect: Invoke, told: Told) -> None:
        self._dialect = dialect
        self._told = told

    def opening(self) -> bytes:
        """Nothing: the first chunk is the first token."""
        return b""

    def thought(self, text: bytes) -> bytes:
        """Nothing: the model does not reason."""
        del text
        return b""

    def token(self, text: bytes) -> bytes:
        """A piece of text."""
        return _chunk(b'{"text":' + text + b',"is_finished":false,"index":0}')

    def call(self, piece: CallText, text: bytes) -> bytes:
        """Nothing: no request can offer tools here."""
        del piece, text
        return b""

    def finish(self) -> bytes:
        """The finish reason, with the metrics that Bedrock adds to the last chunk."""
        last: dict[str, Any] = {"is_finished": True, "finish_reason": _command_reason(self._told), "index": 0}
        if self._told.usage is not None and self._told.script.fault != "no_done":
            last["amazon-bedrock-invocationMetrics"] = _metrics(self._told.usage)
        return _chunk(msgspec.json.encode(last))

    def done(self) -> bytes:
        """Nothing: the finish was the last chunk."""
        return b""

    def error(self) -> bytes:
        """An exception frame."""
        refusal = fault_refusal(self._dialect, self._told.script)
        return eventstream.exception(rules.exception_kind(refusal), rules.complaint(refusal))

    def comment(self) -> bytes:
        """An event of an unknown type, which clients skip."""
        return eventstream.event("keepAlive", b"{}")

    def garbage(self) -> bytes:
        """A chunk whose JSON stops in the middle."""
        return _chunk(b'{"text":"br')


async def invoke(request: web.Request) -> web.StreamResponse:
    """Serve `POST /bedrock/model/{modelId}/invoke` and `/invoke-with-response-stream`."""
    return await serve(request, INVOKE)


def _check_values(body: J2Request | CommandRequest) -> None:
    """Check values, with errors in the words of a JSON Schema. Jurassic's count of stop sequences is from
    github.com/langchain-ai/langchain/issues/10456, the rest from the pages named above (read 2026-11).
    """
    jurassic = isinstance(body, J2Request)
    top_p = body.top_p if isinstance(body, J2Request) else body.p
    bounds = {"temperature": (body.temperature, 1 if jurassic else 5), "topP" if jurassic else "p": (top_p, 1)}
    for name, (value, most) in bounds.items():
        if value is not None and value > most:
            raise malformed(ValueError(f"#/{name}: {value:g} is not less or equal to {most}"))
        if value is not None and value < 0:
            raise malformed(ValueError(f"#/{name}: {value:g} is not greater or equal to 0"))
    stops_max = J2_STOPS_MAX if jurassic else COMMAND_STOPS_MAX
    if len(body.stop_sequences) > stops_max:
        raise malformed(ValueError(f"expected maximum item count: {stops_max}, found: {len(body.stop_sequences)}"))


def _chunk(payload: bytes) -> bytes:
    return eventstream.event("chunk", b'{"bytes":"' + base64.b64encode(payload) + b'","p":"abcdef"}')


def _metrics(usage: Usage) -> dict[str, int]:
    counts = {"inputTokenCount": usage.prompt, "outputTokenCount": usage.output}
    return {**counts, "invocationLatency": 1, "firstByteLatency": 1}


def _j2(told: Told) -> dict[str, Any]:
    """Jurassic-2's answer. Its token lists stay true if a fault changes only the headers, and are empty if usage is
    missing.
    """
    counted = told.usage is not None
    tokens = [{"generatedToken": {"token": piece, "logprob": 0.0}} for piece in told.reply.pieces]
    prompt_tokens = [{"generatedToken": {"token": "▁", "logprob": 0.0}}] * told.reply.prompt_tokens
    completion = {
        "data": {"text": told.reply.text, "tokens": tokens if counted else []},
        "finishReason": {"reason": told.script.finish or _J2_REASONS[told.reply.ending]},
    }
    prompt = {"text": told.question.message, "tokens": prompt_tokens if counted else []}
    return {"id": told.ordinal, "prompt": prompt, "completions": [completion]}


def _command(told: Told) -> dict[str, Any]:
    answer_id = str(uuid.UUID(int=told.ordinal))
    generation = {"id": answer_id, "text": told.reply.text, "finish_reason": _command_reason(told)}
    return {"id": answer_id, "generations": [generation], "prompt": told.question.message}


def _command_reason(told: Told) -> str:
    if told.script.fault == "blocked":
        return "ERROR_TOXIC"
    return told.script.finish or _COMMAND_REASONS[told.reply.ending]


INVOKE = Invoke()
