"""Which of the vendors' words are the caller's own fault, and which are ours; the texts are the vendors' own."""

from __future__ import annotations

import pytest

from shared.errors import InvalidRequest, ProviderRejected
from workers.providers.wire.callers_faults import MEANINGS, ThoughtsRefused, callers_fault
from workers.providers.wire.vendor_errors import from_status

CALLERS = {
    "contents": [
        "Your request was rejected as a result of our safety system.",
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again.",
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "Content Exists Risk",
    ],
    "image": [
        "You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png', 'jpeg'].",
        "The image data you provided does not represent a valid image. Please check your input and try again.",
        "The model returned the following errors: messages.0.content.1.image.source.base64: image exceeds 5 MB maximum",
        "The model returned the following errors: Could not process image",
        "The image was specified using the image/jpeg media type, but the image appears to be a image/png image",
        "Value at 'messages.1.member.content.2.member.image.format' failed to satisfy constraint: Member must satisfy",
        "The model returned the following errors: The provided image does not match the specified image format.",
        "Unable to process input image. Please retry or report.",
        "Unsupported MIME type: image/gif",
    ],
    "JSON Schema": [
        "Invalid schema for function 'f': In context=('properties', 'x'), array schema missing items.",
        "Invalid schema for response_format 'answer': In context=(), 'additionalProperties' is required to be supplied.",
        "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level",
        "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object.",
        "reference to undefined schema at properties.target_object.anyOf.1",
    ],
    "option": [
        "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead.",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.1 instead.",
        "Invalid temperature value, the valid range of temperature is [0, 2]",
        "Value '1.5' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less than or",
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        "stop_sequences: each stop sequence must contain non-whitespace",
        "* GenerateContentRequest.generation_config.stop_sequences: the number of stop_sequences must not exceed 5.",
        "Unable to submit request because it has a topK value of 50 but the supported range is from 1 (inclusive) to 41.",
        "Penalty is not enabled for models/gemini-2.5-flash",
    ],
    "tool call": [
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'.",
        "Duplicate value for 'tool_call_id' of call_00_abc in message[2]",
        "The number of toolResult blocks at messages.10.content exceeds the number of toolUse blocks of previous turn.",
        "Expected toolResult blocks at messages.2.content for the following Ids: tooluse_a",
        "messages.1.content.1: `tool_use` ids must be unique",
        "Please ensure that function call turn comes immediately after a user turn or after a function response turn.",
    ],
    "order of": [
        "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
        "A conversation must alternate between user and assistant roles.",
        "messages: final assistant content cannot end with trailing whitespace",
        "This model does not support assistant message prefill. The conversation must end with a user message.",
        "The text field in the ContentBlock object at messages.0.content.0 is blank. Add text to the text field.",
        "The content field in the Message object at messages.1 is empty. Add a ContentBlock object.",
        "* GenerateContentRequest.contents[1].parts[0].data: required oneof field 'data' must have one initialized field",
        "Invalid 'messages[0].content': empty array. Expected an array with minimum length 1, but got an empty array.",
    ],
    "longer than the vendor takes": [
        "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024, but got a",
        "Request payload size exceeds the limit: 20971520 bytes. Please use the File API to upload larger files.",
    ],
    "word JSON": [
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
    ],
}
OURS = [
    "Invalid request.",
    "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a string",
    "Invalid 'user': string too long. Expected a string with maximum length 64, but got a string with length 150 instead.",
    "Request contains an invalid argument.",
    "Unsupported parameter: 'temperature' is not supported with this model.",
    "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
    "Unrecognized request argument supplied: reasoning_effort",
    "max_tokens is too large: 9999. This model supports at most 4096 completion tokens.",
    "The maximum tokens you requested exceeds the model limit of 4096.",
    "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
    "This model doesn't support tool use in streaming mode.",
    "This model doesn't support system messages.",
    "This model doesn't support the stopSequences field. Remove stopSequences and try again.",
    "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
    "Invalid JSON payload received. Unknown name \"foo\" at 'generation_config': Cannot find field.",
    "Malformed input request: #: extraneous key [foo] is not permitted, please reformat your input and try again.",
]


@pytest.mark.parametrize(("meaning", "prose"), [(words, prose) for words, all_ in CALLERS.items() for prose in all_])
@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_the_callers_fault_is_a_400_in_our_words(meaning: str, prose: str, status: int) -> None:
    error = from_status(status, "invalid_request_error", prose=prose)
    assert type(error) is InvalidRequest
    assert meaning in error.message
    assert error.message in {words for _, words in MEANINGS}


@pytest.mark.parametrize("prose", OURS)
def test_what_is_not_known_to_be_the_callers_is_rejected(prose: str) -> None:
    assert callers_fault(prose) is None
    assert type(from_status(400, prose=prose)) is ProviderRejected


@pytest.mark.parametrize(
    "prose",
    [
        "The model returned the following errors: messages.1.content.0: Invalid `signature` in `thinking` block",
        "messages.39.content.0: Invalid signature in thinking block",
        "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
        "messages.1.content.0: The block is bound to a different conversation.",
        "Corrupted thought signature.",
        "The encrypted content gAAA could not be verified.",
    ],
)
def test_thoughts_that_are_not_known_again_are_an_error_of_their_own(prose: str) -> None:
    error = from_status(400, prose=prose)
    assert isinstance(error, ThoughtsRefused)
    assert "thought" in error.message
