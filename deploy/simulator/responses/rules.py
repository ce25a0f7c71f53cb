"""The options and tools that the Responses API takes with each model, and its refusals of others.

Sources: OpenAI's API reference, and its errors as users report them at github.com, read 2026-11:
- "Unsupported value: 'none' is not supported with the 'gpt-5.1-codex' model." (openai/codex/issues/6647)
- "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16" (earendil-works/pi/issues/6265)
- "Missing required parameter: 'tools[0].name'." (stanfordnlp/dspy/pull/9984)
- "Your input exceeds the context window of this model." (onyx-dot-app/onyx/issues/6051)
"""

from __future__ import annotations

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.models import Model
from deploy.simulator.openai.names import NAME_LENGTH_MAX, TOOLS_MAX
from deploy.simulator.openai.rules import check_tier
from deploy.simulator.openai.schemas import wrong_schema
from deploy.simulator.openai.values import INVALID, RANGES, USER_LENGTH_MAX
from deploy.simulator.responses.body import ENCRYPTED, Named, ResponsesRequest

OUTPUT_MIN = 16
INCLUDABLE = (
    ENCRYPTED,
    "file_search_call.results",
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "web_search_call.action.sources",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
)
BLOCKED = Refusal(
    400,
    "invalid_prompt",
    "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again.",
    INVALID,
)
_THINKING_REFUSES = ("temperature", "top_p", "top_logprobs")


def thinks(body: ResponsesRequest, model: Model) -> bool:
    """True if the model thinks before it answers this request."""
    return model.reasons and model.effort(body.effort) != "none"


def check_body(body: ResponsesRequest, model: Model | None, prompt_tokens: int) -> Model:
    """Check everything but the input against the rules of the model; raises `Refusal`."""
    if model is None:
        message = f"The model `{body.model}` does not exist or you do not have access to it."
        raise Refusal(404, "model_not_found", message, INVALID, "model")
    if not body.items:
        raise _refused("missing_required_parameter", "Missing required parameter: 'input'.", "input")
    check_tier(body.service_tier, model)
    _check_thinking(body, model)
    _check_values(body, model)
    _check_tools(body)
    _check_form(body)
    if prompt_tokens > model.context:
        message = "Your input exceeds the context window of this model. Please adjust your input and try again."
        raise _refused("context_length_exceeded", message, "input")
    return model


def _check_thinking(body: ResponsesRequest, model: Model) -> None:
    for name in body.include or ():
        if name not in INCLUDABLE:
            supported = ", ".join(f"'{one}'" for one in INCLUDABLE)
            raise _refused("invalid_value", f"Invalid value: '{name}'. Supported values are: {supported}.", "include")
    if not model.reasons:
        if ENCRYPTED in (body.include or ()):
            raise _refused(None, "Encrypted content is not supported with this model.", "include")
        if body.effort or body.summarises:
            raise _unsupported(f"reasoning.{'effort' if body.effort else 'summary'}")
    elif body.effort and body.effort not in model.efforts:
        known = ", ".join(f"'{effort}'" for effort in dict.fromkeys(model.efforts))
        message = f"Unsupported value: '{body.effort}' is not supported with the '{model.name}' model."
        raise _refused("unsupported_value", f"{message} Supported values are: {known}.", "reasoning.effort")
    if thinks(body, model):
        for name in _THINKING_REFUSES:
            if getattr(body, name) is not None and not (name == "temperature" and body.temperature == 1):
                raise _unsupported(name)


def _check_values(body: ResponsesRequest, model: Model) -> None:
    for name in ("temperature", "top_p"):
        value, (least, most) = getattr(body, name), RANGES[name]
        if value is not None and not least <= value <= most:
            words = f"Expected a value between {least:g} and {most:g}, but got {value:g} instead."
            raise _refused("decimal_out_of_range", f"Invalid '{name}': decimal out of range. {words}", name)
    limit, name = body.max_output_tokens, "max_output_tokens"
    if limit is not None and limit < OUTPUT_MIN:
        words = f"integer below minimum value. Expected a value >= {OUTPUT_MIN}, but got {limit} instead."
        raise _refused("integer_below_min_value", f"Invalid '{name}': {words}", name)
    if limit is not None and limit > model.output_max:
        words = f"integer above maximum value. Expected a value <= {model.output_max}, but got {limit} instead."
        raise _refused("integer_above_max_value", f"Invalid '{name}': {words}", name)
    if len(body.user or "") > USER_LENGTH_MAX:
        words = f"Expected a string with maximum length {USER_LENGTH_MAX}."
        raise _refused("string_above_max_length", f"Invalid 'user': string too long. {words}", "user")


def _check_tools(body: ResponsesRequest) -> None:
    tools = body.tools or []
    if len(tools) > TOOLS_MAX:
        words = f"Expected an array with maximum length {TOOLS_MAX}, but got an array with length {len(tools)} instead."
        raise _refused("array_above_max_length", f"Invalid 'tools': array too long. {words}", "tools")
    for i, tool in enumerate(tools):
        if tool.type != "function":
            raise _refused(
                "invalid_value", f"Invalid value: '{tool.type}'. The simulator has functions only.", f"tools[{i}]"
            )
        name, schema = tool.name or "", tool.parameters or {}
        if not 0 < len(name) <= NAME_LENGTH_MAX:
            words = f"Expected a string with maximum length {NAME_LENGTH_MAX}."
            raise _refused("string_above_max_length", f"Invalid 'tools[{i}].name': {words}", f"tools[{i}].name")
        if tool.parameters is not None and (wrong := wrong_schema(schema, strict=bool(tool.strict))):
            words = f"Invalid schema for function '{name}': {wrong}"
            raise _refused("invalid_function_parameters", words, f"tools[{i}].parameters")
    names = {tool.name for tool in tools}
    if len(names) < len(tools):
        raise _refused(None, "Tool names must be unique.", "tools")
    choice = body.tool_choice
    if isinstance(choice, Named) and choice.name not in names:
        raise _refused(None, f"Tool choice '{choice.type}' not found in 'tools' parameter.", "tool_choice")
    if choice == "required" and not tools:
        raise _refused(None, "Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice")


def _check_form(body: ResponsesRequest) -> None:
    form = body.form
    if form.type == "json_object" and not any("json" in item.text().lower() for item in body.items):
        words = "Response input messages must contain the word 'json' in some form to use 'text.format' of type"
        raise _refused(None, f"{words} 'json_object'.", "input")
    if form.type != "json_schema":
        return
    for name in ("name", "schema"):
        if getattr(form, name) is None:
            where = f"text.format.{name}"
            raise _refused("missing_required_parameter", f"Missing required parameter: '{where}'.", where)
    if wrong := wrong_schema(form.schema or {}, strict=bool(form.strict)):
        words = f"Invalid schema for response_format '{form.name}': {wrong}"
        raise _refused("invalid_json_schema", words, "text.format.schema")


def _unsupported(name: str) -> Refusal:
    return _refused("unsupported_parameter", f"Unsupported parameter: '{name}' is not supported with this model.", name)


def _refused(code: str | None, message: str, param: str) -> Refusal:
    return Refusal(400, code, message, INVALID, param)
