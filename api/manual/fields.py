"""The page `/docs/fields`: what becomes of each field of OpenAI's and Anthropic's APIs with each class of model. The
code that handles real requests is run to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal

import msgspec

from api.formats.anthropic.chat import parse_message
from api.formats.asked import Asked
from api.formats.openai.chat import parse_completion
from api.formats.responses.chat import parse_response
from api.requests.model_check import at_tier, fit_to_model
from shared.catalogue.models import Catalogue, Model
from shared.errors import InvalidRequest
from shared.settings import Settings

Outcome = Literal["done", "nearest", "left out", "refused"]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
CLOSED = SCHEMA | {"additionalProperties": False}
STRICT_FUNCTION = {"type": "function", "function": {"name": "f", "parameters": CLOSED, "strict": True}}
TOOL = {"name": "f", "input_schema": SCHEMA}
PLAIN = {"type": "function", "name": "f", "parameters": SCHEMA}
SPACED = {"type": "namespace", "name": "n", "description": "", "tools": [PLAIN]}
SEEN = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
MARK = {"type": "ephemeral"}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
FAR_TOO_MUCH = 1_000_000_000
HELLO = {"role": "user", "content": "Hello"}
IN_JSON = {"role": "user", "content": "Hello in JSON"}


def _user(*parts: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


COMPLETIONS: dict[str, dict[str, Any]] = {
    "`max_tokens`, `max_completion_tokens` above the model's": {"max_tokens": FAR_TOO_MUCH},
    "`temperature`, `top_p` other than 1": {"temperature": 0.5},
    "`temperature`, `top_p` of 1": {"temperature": 1, "top_p": 1},
    "`top_k`": {"top_k": 5},
    "`stop`": {"stop": ["x"]},
    "`seed`": {"seed": 1},
    "`frequency_penalty`, `presence_penalty`": {"frequency_penalty": 0.5},
    "`reasoning_effort: low`": {"reasoning_effort": "low"},
    "`reasoning_effort: none`": {"reasoning_effort": "none"},
    "`reasoning_effort: max`": {"reasoning_effort": "max"},
    "`thinking`, `reasoning` (switched on)": {"thinking": {"type": "enabled"}},
    "`tools`": {"tools": [FUNCTION]},
    "`tools[].function.strict`": {"tools": [STRICT_FUNCTION]},
    "`tools[]` that the vendor runs (`web_search`, `builtin_function` …)": {"tools": [{"type": "web_search"}]},
    "`tools[]` of type `custom`": {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
    "`tool_choice: required`": {"tools": [FUNCTION], "tool_choice": "required"},
    "`tool_choice` of one tool": {
        "tools": [FUNCTION],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    },
    "`parallel_tool_calls: false`": {"tools": [FUNCTION], "parallel_tool_calls": False},
    "`response_format: json_object`": {"response_format": {"type": "json_object"}, "messages": [IN_JSON]},
    "`response_format: json_object` without the word JSON in a message": {"response_format": {"type": "json_object"}},
    "`response_format: json_schema`": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    },
    "an image": _user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
    "`annotations` and thoughts of earlier answers, sent back": {
        "messages": [HELLO, {"role": "assistant", "content": "x", "annotations": [{"type": "url_citation"}]}, HELLO]
    },
    "`cache_control`, `prompt_cache_breakpoint`": _user({"type": "text", "text": "x", "cache_control": MARK}),
    "`prompt_cache_key`": {"prompt_cache_key": "k"},
    "`prompt_cache_options`: mode `explicit`": {"prompt_cache_options": {"mode": "explicit"}},
    "`prompt_cache_retention: 24h`": {"prompt_cache_retention": "24h"},
    "`user`, `safety_identifier`": {"user": "someone"},
    "`metadata`: up to 16 texts": {"metadata": {"a": "b"}},
    "`metadata` beyond that": {"metadata": {"a": 1}},
    "`n` above 1, `logit_bias`, audio": {"n": 2},
    "`service_tier: flex`": {"service_tier": "flex"},
    "`logprobs`, `verbosity`, `store`, `prediction`, `service_tier: priority` and whatever is unknown": {
        "logprobs": True
    },
}
MESSAGES: dict[str, dict[str, Any]] = {
    "`max_tokens` above the model's": {"max_tokens": FAR_TOO_MUCH},
    "`temperature`, `top_p` other than 1": {"temperature": 0.5},
    "`temperature`, `top_p` of 1": {"temperature": 1, "top_p": 1},
    "`top_k`": {"top_k": 5},
    "`stop_sequences`": {"stop_sequences": ["x"]},
    "`thinking: adaptive`, `enabled`": {"thinking": {"type": "adaptive"}},
    "`thinking: disabled`": {"thinking": {"type": "disabled"}},
    "`output_config.effort: low`": {"output_config": {"effort": "low"}},
    "`output_config.effort: max`": {"output_config": {"effort": "max"}},
    "`service_tier: flex`": {"service_tier": "flex"},
    "`output_config.format`": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "`tools`": {"tools": [TOOL]},
    "`tools[].strict`": {"tools": [{**TOOL, "strict": True}]},
    "`tools[]` that Anthropic runs (`web_search_…`)": {
        "tools": [{"type": "web_search_20250305", "name": "web_search"}]
    },
    "`tools[]` whose form is Anthropic's (`bash_…`, `text_editor_…`)": {
        "tools": [{"type": "bash_20250124", "name": "bash"}]
    },
    "`tool_choice: any`": {"tools": [TOOL], "tool_choice": {"type": "any"}},
    "`tool_choice: tool`": {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
    "`disable_parallel_tool_use`": {
        "tools": [TOOL],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
    "`system` turns in `messages`": {"messages": [HELLO, {"role": "system", "content": "Be brief."}]},
    "an image, also in a `tool_result`": _user({"type": "image", "source": PIXEL}),
    "a document of plain text": _user({"type": "document", "source": {"type": "text", "data": "x"}}),
    "a document of another type": _user({"type": "document", "source": PIXEL | {"media_type": "application/pdf"}}),
    "a `search_result`, a `compaction`": _user({"type": "search_result", "source": "s", "title": "t", "content": []}),
    "blocks of tools that Anthropic ran (`server_tool_use`, `web_search_tool_result` …), sent back": {
        "messages": [HELLO, {"role": "assistant", "content": [{"type": "server_tool_use", "id": "s"}]}, HELLO]
    },
    "thinking blocks of another model, sent back": {
        "messages": [
            HELLO,
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}, {"type": "text", "text": "x"}]},
            HELLO,
        ]
    },
    "`cache_control`": {"cache_control": MARK},
    "`metadata.user_id`": {"metadata": {"user_id": "x"}},
    "`context_management`, `mcp_servers`, `container`, `defer_loading` and whatever is unknown": {"container": "x"},
}
RESPONSES: dict[str, dict[str, Any]] = {
    "`max_output_tokens` above the model's": {"max_output_tokens": FAR_TOO_MUCH},
    "`temperature`, `top_p` other than 1": {"temperature": 0.5},
    "`temperature`, `top_p` of 1": {"temperature": 1, "top_p": 1},
    "`reasoning.effort: low`": {"reasoning": {"effort": "low"}},
    "`reasoning.effort: max`": {"reasoning": {"effort": "max"}},
    "`reasoning.summary`, `include: reasoning.encrypted_content`": {
        "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    },
    "`tools` of type `function`, also in a `namespace`": {"tools": [SPACED]},
    "`tools` of type `custom`, `local_shell`, `shell`, `apply_patch`": {"tools": [{"type": "shell"}]},
    "`tools[].strict`": {"tools": [{"type": "function", "name": "f", "parameters": CLOSED, "strict": True}]},
    "`tools[]` that the vendor runs (`web_search` …)": {"tools": [{"type": "web_search"}]},
    "`tools[]` of type `computer`": {"tools": [{"type": "computer"}]},
    "`tool_choice: required`": {"tools": [PLAIN], "tool_choice": "required"},
    "`tool_choice` of one tool": {"tools": [PLAIN], "tool_choice": {"type": "function", "name": "f"}},
    "`tool_choice` of a tool that the vendor runs": {"tool_choice": {"type": "web_search_preview"}},
    "`parallel_tool_calls: false`": {"tools": [PLAIN], "parallel_tool_calls": False},
    "`text.format: json_object`": {"text": {"format": {"type": "json_object"}}, "input": "Hello in JSON"},
    "`text.format: json_schema`": {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
    "`text.verbosity: low`": {"text": {"verbosity": "low"}},
    "an image": {"input": [{"role": "user", "content": [SEEN]}]},
    "a file, audio": {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
    "reasoning items of another model, and calls that a vendor made, sent back": {
        "input": [{"type": "reasoning", "id": "x", "summary": []}, HELLO, {"role": "assistant", "content": "x"}, HELLO]
    },
    "`store`, `background`, `previous_response_id`": {"store": True, "background": True},
    "`conversation`, `prompt`": {"conversation": "x"},
    "`service_tier: flex`": {"service_tier": "flex"},
    "`user`, `safety_identifier`": {"user": "someone"},
    "`cache_control`, `prompt_cache_breakpoint` of a part": {
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "x", "cache_control": MARK}]}]
    },
    "`prompt_cache_key`": {"prompt_cache_key": "k"},
    "`prompt_cache_options`: mode `explicit`": {"prompt_cache_options": {"mode": "explicit"}},
    "`prompt_cache_retention: 24h`": {"prompt_cache_retention": "24h"},
    "`include` of anything else, `truncation: auto`, `top_logprobs`, `max_tool_calls` and whatever is unknown": {
        "include": ["message.output_text.logprobs"]
    },
}


@cache
def tables(catalogue: Catalogue, settings: Settings) -> str:
    """Markdown tables for each API and each group of models, and the models that each column stands for."""
    completions = _tables(catalogue, settings, COMPLETIONS, parse_completion, {"model": "", "messages": [HELLO]})
    messages = _tables(
        catalogue, settings, MESSAGES, parse_message, {"model": "", "max_tokens": 9, "messages": [HELLO]}
    )
    responses = _tables(catalogue, settings, RESPONSES, parse_response, {"model": "", "input": "Hello"})
    apis = {"/v1/chat/completions": completions, "/v1/responses": responses, "/v1/messages": messages}
    return "\n\n".join(f"## `{path}`\n\n{table}" for path, table in apis.items())


def _tables(
    catalogue: Catalogue,
    settings: Settings,
    fields: Mapping[str, Mapping[str, Any]],
    parse: Callable[[bytes], Asked],
    body: Mapping[str, Any],
) -> str:
    """Several tables, because one of all models would be wider than a screen."""
    asked = {field: _parsed(parse, {**body, **changes}) for field, changes in fields.items()}
    groups: dict[str, list[Model]] = {}
    for model in catalogue:
        groups.setdefault(_group_of(model), []).append(model)
    return "\n\n".join(
        f"### {group}\n\n{_table(models, catalogue, settings, asked)}" for group, models in groups.items()
    )


def _group_of(model: Model) -> str:
    """The group that the model is shown in: companies whose models have rules of their own; the other models on Bedrock
    are alike.
    """
    alike = model.provider == "bedrock" and model.company != "Anthropic"
    return "Other models on Bedrock" if alike else f"{model.company}'s models"


def _table(
    models: Sequence[Model], catalogue: Catalogue, settings: Settings, fields: Mapping[str, Asked | None]
) -> str:
    classes: dict[tuple[Outcome, ...], list[str]] = {}
    for model in models:
        outcomes = tuple(outcome(one, model, catalogue, settings) if one else "refused" for one in fields.values())
        classes.setdefault(outcomes, []).append(model.name)
    columns = range(1, len(classes) + 1)
    rows = [f"| {field} | {' | '.join(outcomes[row] for outcomes in classes)} |" for row, field in enumerate(fields)]
    lines = [f"| field | {' | '.join(map(str, columns))} |", "|---" * (len(classes) + 1) + "|", *rows, ""]
    return "\n".join([*lines, *(f"{n}. {', '.join(names)}" for n, names in enumerate(classes.values(), start=1))])


def _parsed(parse: Callable[[bytes], Asked], body: Mapping[str, Any]) -> Asked | None:
    """The parsed body; None for a value that no model takes."""
    try:
        return parse(msgspec.json.encode(body))
    except InvalidRequest:
        return None


def outcome(asked: Asked, model: Model, catalogue: Catalogue, settings: Settings) -> Outcome:
    """The outcome for the fields of `asked` if `model` is asked."""
    try:
        fitted, served = fit_to_model(asked, model, settings)
        at_tier(asked, served, catalogue)
    except InvalidRequest:
        return "refused"
    if fitted.ignored:
        return "left out"
    wanted, given = asked.sampling.reasoning_effort, fitted.sampling.reasoning_effort
    lowered = (asked.max_tokens or 0) > model.max_output_tokens
    return "nearest" if lowered or (given and given != wanted) else "done"
