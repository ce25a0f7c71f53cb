"""The URL map: every route with everything that it takes and answers. The application and `/openapi.json` are both made
from it. A new route is one entry here.
"""

from __future__ import annotations

from api.endpoints import (
    account,
    batches,
    chat,
    completions,
    docs,
    health,
    keys,
    message_batches,
    messages,
    models,
    openai_batches,
    openai_files,
    openai_models,
    requests,
    responses,
    usage,
)
from api.formats.anthropic.answers import MessageAnswer
from api.formats.anthropic.batches import DeletedMessageBatch, MessageBatch, MessageBatchBody, MessageBatches
from api.formats.anthropic.body import CountRequest, MessagesRequest
from api.formats.anthropic.models import AnthropicModel, AnthropicModels
from api.formats.anthropic.threads import ThreadUnsupported
from api.formats.native import chat as native
from api.formats.native.answers import Success
from api.formats.native.batches import BatchView
from api.formats.native.keys import CreatedKey, NewKeyBody
from api.formats.openai.answers import Completion
from api.formats.openai.batches import BatchBody, BatchList, BatchObject
from api.formats.openai.body import CompletionRequest
from api.formats.openai.codex import CodexModels
from api.formats.openai.files import FileDeleted, FileList, FileObject
from api.formats.openai.models import OpenAIModel, OpenAIModels
from api.formats.responses.body import ResponseRequest
from api.formats.responses.items import MessageItem
from api.formats.responses.listing import InputItemList
from api.formats.responses.objects import InputTokens, ResponseDeleted, ResponseObject
from api.http.reading import IDEMPOTENCY_KEY_LENGTH_MAX
from api.http.writing import NDJSON
from api.manual import examples
from api.manual.route import Answer, Body, Errors, Header, Route, json
from api.reply import Accepted
from api.requests.view import RequestView
from shared import errors
from shared.ledger.accounts import Wallet
from shared.ledger.api_keys import KeyRow

CHAT: Errors = (
    errors.ContextLengthExceeded,
    errors.InsufficientCredit,
    errors.ModelNotFound,
    errors.NotFound,
    errors.ModelRetired,
    errors.Gone,
    errors.IdempotencyMismatch,
    errors.RateLimited,
    errors.Cancelled,
    errors.ProviderRejected,
    errors.ProviderError,
    errors.Overloaded,
    errors.ProviderBusy,
    errors.ProviderNotConfigured,
    errors.ProviderTimeout,
    errors.Expired,
)
"""Errors of routes that run a request, beside those of the body: everything that may end a request."""
BATCH: Errors = (errors.InsufficientCredit, errors.IdempotencyMismatch, errors.RateLimited)
"""Errors of routes that create a batch or its file."""
OWN: Errors = (errors.NotFound,)
"""Errors of routes that name an object of the account."""
KEPT: Errors = (*OWN, errors.Gone)
"""Errors of routes that name an object which is kept only for a while."""

REPEATABLE = Header(
    "Idempotency-Key",
    "A key that makes the request safe to repeat. The same key with the same body is the same request for 24 hours: its"
    " answer is replayed, and it is charged once.",
    {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_LENGTH_MAX},
)
PREFER = Header("Prefer", "`respond-async` answers 202 at once; `Location` says where the answer will be.")
LAST_EVENT = Header(
    "Last-Event-ID",
    "The number of the last event that arrived; it comes before `after`.",
    {"type": "integer", "minimum": 0, "maximum": requests.SEQUENCE_MAX},
)
OUTPUT_LIMIT = Header("x-output-limit", "The most output tokens that the answer may have.", {"type": "integer"})
REPLAYED = Header("Idempotent-Replayed", "`true` if this is the answer of an earlier request with the same key.")
RATE = (
    Header(
        "x-ratelimit-limit-requests",
        "The request limit of the key, per minute; only for keys that have one.",
        {"type": "integer"},
    ),
    Header(
        "x-ratelimit-remaining-requests",
        "The requests that the key may still make in this minute.",
        {"type": "integer"},
    ),
    Header("x-ratelimit-reset-requests", "The time after which the whole limit is left again, such as `1.500s`."),
)
IGNORED = Header(
    "x-ignored",
    "Names of the fields of the body, and of query parameters (`?name`), that were left out: nothing here can honour them.",
)
TOKEN_COUNT = Header("x-token-count", "Always `estimate`: the front door counts the tokens without asking a vendor.")
ADMITTED = (
    OUTPUT_LIMIT,
    IGNORED,
    Header("x-model-successor", "The model that answers for the requested one, which is retired."),
    Header(
        "x-model-served",
        "Only with `models`: the model that answered. A stream has it if the model is known before the first byte.",
    ),
    REPLAYED,
    *RATE,
)
VERSION = Header(
    "anthropic-version", "The header that Anthropic's clients send; it selects Anthropic's form of the answer."
)
LOCATION = Header("Location", "The path at which the answer is fetched, `/api/requests/{id}`.")
CONSOLE = Header("Location", "The path of the console, `/console`.")

STREAMS = {
    "text/plain": "The text as it is written. With `stats`, and after a failure, the byte 0x1E and one JSON record follow.",
    "text/event-stream": (
        "Server-sent events, asked for with `Accept: text/event-stream`. `id` is the event's number; `event` is `chunk` "
        '(`{"text"}`), at the end `done` (`{"tokens_input", "tokens_output", "price", "finish_reason"}`) or `error`.'
    ),
}
CHUNKS = (
    "With `stream`: `chat.completion.chunk` objects as server-sent events, then `data: [DONE]`; a failure is one event"
    ' `{"error": …}`.'
)
MESSAGE_EVENTS = (
    "With `stream`: `message_start`, for each block `content_block_start`, `content_block_delta` and `content_block_stop`, "
    "then `message_delta` with the usage and `message_stop`. `ping` comes before the first token; a failed stream ends with"
    " `error`."
)
RESPONSE_EVENTS = (
    "With `stream`: `response.created`, `response.in_progress`, for each item `response.output_item.added`, its pieces and "
    "`response.output_item.done`, then `response.completed`, `response.incomplete` or `response.failed` with the whole "
    "response. `sequence_number` rises by one."
)
PAGE = {200: Answer({"text/html": "A page."})}
NAME = {"name": "The name of the page, as in the links of `/docs`."}
REQUEST_ID = {"id": "The id of a request, `req_…`; its answer has it in `x-request-id`."}
RESPONSE_ID = {"id": "The id of a response, `resp_…`."}
BATCH_ID = {"id": "The id of a batch, `batch_…`."}
MESSAGE_BATCH_ID = {"id": "The id of a batch, `msgbatch_…`."}
BATCH_LOCATION = Header("Location", "The path of the batch, `/api/batches/{id}`.")
FILE_ID = {"id": "The id of a file: `file_…`, or the id of a result file that a batch names."}
FORM = (
    "A form with `purpose` (`batch`), `file` (lines of JSON with `custom_id`, `method`, `url` and `body`) and, if wanted, "
    "`expires_after[anchor]` and `expires_after[seconds]`."
)
KEY_ID = {"key_id": "The id of a key: twelve characters, the middle part of the key."}

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/api/endpoint",
        chat.post_endpoint,
        "Send a chat request",
        {
            200: Answer({**json(Success[native.ChatAnswer]), **STREAMS}, ADMITTED, examples.CHAT_ANSWER),
            202: Answer(json(Success[Accepted]), (*ADMITTED, LOCATION)),
        },
        scope="inference",
        body=Body(json(native.ChatRequest), examples.CHAT_REQUEST),
        headers=(REPEATABLE, PREFER),
        errors=CHAT,
    ),
    Route(
        "GET",
        "/api/requests",
        requests.get_requests,
        "List requests, newest first",
        {200: Answer(json(Success[requests.History]))},
        scope="read",
        query=requests.HistoryQuery,
        errors=OWN,
    ),
    Route(
        "GET",
        "/api/requests/{id}",
        requests.get_request,
        "One request with its receipt",
        {200: Answer(json(Success[RequestView]))},
        scope="read",
        parameters=REQUEST_ID,
        errors=OWN,
    ),
    Route(
        "DELETE",
        "/api/requests/{id}",
        requests.delete_request,
        "Cancel a request",
        {200: Answer(json(Success[RequestView]))},
        scope="inference",
        parameters=REQUEST_ID,
        errors=OWN,
    ),
    Route(
        "GET",
        "/api/requests/{id}/stream",
        requests.get_stream,
        "A request's stream again",
        {200: Answer(STREAMS, (OUTPUT_LIMIT,))},
        scope="read",
        query=requests.StreamQuery,
        parameters=REQUEST_ID,
        headers=(LAST_EVENT,),
        errors=(*CHAT, *KEPT),
    ),
    Route(
        "POST",
        "/v1/chat/completions",
        completions.post_completions,
        "OpenAI's chat completions",
        {200: Answer({**json(Completion), "text/event-stream": CHUNKS}, ADMITTED)},
        scope="inference",
        body=Body(json(CompletionRequest), examples.COMPLETION, tolerant=True),
        headers=(REPEATABLE,),
        errors=CHAT,
    ),
    Route(
        "POST",
        "/v1/messages",
        messages.post_messages,
        "Anthropic's messages",
        {200: Answer({**json(MessageAnswer), "text/event-stream": MESSAGE_EVENTS}, ADMITTED)},
        scope="inference",
        body=Body(json(MessagesRequest), examples.COMPLETION, tolerant=True),
        headers=(REPEATABLE,),
        errors=(ThreadUnsupported, *CHAT),
    ),
    Route(
        "POST",
        "/v1/messages/count_tokens",
        messages.post_count_tokens,
        "Estimate the tokens of a message",
        {200: Answer(json(messages.TokenCount), (TOKEN_COUNT, IGNORED))},
        scope="inference",
        body=Body(json(CountRequest), examples.COUNT, tolerant=True),
        errors=(errors.ModelNotFound,),
    ),
    Route(
        "POST",
        "/v1/messages/batches",
        message_batches.post_batch,
        "Create a batch in Anthropic's form",
        {200: Answer(json(MessageBatch), (IGNORED, REPLAYED, *RATE))},
        scope="inference",
        body=Body(json(MessageBatchBody), examples.MESSAGE_BATCH, tolerant=True),
        headers=(REPEATABLE,),
        errors=(*BATCH, errors.Overloaded, *OWN),
    ),
    Route(
        "GET",
        "/v1/messages/batches",
        message_batches.get_batches,
        "The batches in Anthropic's form, newest first",
        {200: Answer(json(MessageBatches), (IGNORED,))},
        scope="read",
        query=message_batches.MessageBatchesQuery,
        errors=OWN,
    ),
    Route(
        "GET",
        "/v1/messages/batches/{id}",
        message_batches.get_batch,
        "One batch in Anthropic's form",
        {200: Answer(json(MessageBatch))},
        scope="read",
        parameters=MESSAGE_BATCH_ID,
        errors=OWN,
    ),
    Route(
        "DELETE",
        "/v1/messages/batches/{id}",
        message_batches.delete_one,
        "Delete a batch with its results",
        {200: Answer(json(DeletedMessageBatch))},
        scope="inference",
        parameters=MESSAGE_BATCH_ID,
        errors=(*OWN, errors.Conflict),
    ),
    Route(
        "POST",
        "/v1/messages/batches/{id}/cancel",
        message_batches.cancel,
        "Cancel a batch in Anthropic's form",
        {200: Answer(json(MessageBatch))},
        scope="inference",
        parameters=MESSAGE_BATCH_ID,
        errors=OWN,
    ),
    Route(
        "GET",
        "/v1/messages/batches/{id}/results",
        message_batches.get_results,
        "A batch's results in Anthropic's form",
        {
            200: Answer(
                {
                    NDJSON: "Lines of JSON in the order of the requests: `custom_id` and `result`, whose `type` is "
                    "`succeeded` (with `message`), `errored` (with `error`), `canceled` or `expired`."
                }
            )
        },
        scope="read",
        parameters=MESSAGE_BATCH_ID,
        errors=(*KEPT, errors.Conflict),
    ),
    Route(
        "POST",
        "/v1/responses",
        responses.post_response,
        "OpenAI's responses",
        {200: Answer({**json(ResponseObject), "text/event-stream": RESPONSE_EVENTS}, ADMITTED)},
        scope="inference",
        body=Body(json(ResponseRequest), examples.RESPONSE, tolerant=True, untagged=MessageItem),
        headers=(REPEATABLE,),
        errors=CHAT,
    ),
    Route(
        "POST",
        "/v1/responses/input_tokens",
        responses.post_input_tokens,
        "Estimate the tokens of a response's input",
        {200: Answer(json(InputTokens), (TOKEN_COUNT, IGNORED))},
        scope="inference",
        body=Body(json(ResponseRequest), examples.RESPONSE, tolerant=True, untagged=MessageItem),
        errors=(errors.ModelNotFound, errors.NotFound),
    ),
    Route(
        "GET",
        "/v1/responses/{id}",
        responses.get_response,
        "One response, or its events again",
        {200: Answer({**json(ResponseObject), "text/event-stream": RESPONSE_EVENTS}, (OUTPUT_LIMIT, IGNORED))},
        scope="read",
        query=responses.ResponseQuery,
        parameters=RESPONSE_ID,
        errors=(*CHAT, *KEPT),
    ),
    Route(
        "DELETE",
        "/v1/responses/{id}",
        responses.delete_response,
        "Forget a response",
        {200: Answer(json(ResponseDeleted))},
        scope="inference",
        parameters=RESPONSE_ID,
        errors=OWN,
    ),
    Route(
        "POST",
        "/v1/responses/{id}/cancel",
        responses.cancel_response,
        "Cancel a response",
        {200: Answer(json(ResponseObject))},
        scope="inference",
        parameters=RESPONSE_ID,
        errors=OWN,
    ),
    Route(
        "GET",
        "/v1/responses/{id}/input_items",
        responses.get_input_items,
        "The items of a response's input",
        {200: Answer(json(InputItemList), (IGNORED,))},
        scope="read",
        query=responses.InputItemsQuery,
        parameters=RESPONSE_ID,
        errors=OWN,
    ),
    Route(
        "GET",
        "/v1/models",
        openai_models.get_openai_models,
        "The catalogue in OpenAI's, Anthropic's or Codex' form",
        {200: Answer(json((OpenAIModels, AnthropicModels, CodexModels)))},
        scope="read",
        query=openai_models.ModelsQuery,
        headers=(VERSION,),
        errors=(errors.ModelNotFound,),
    ),
    Route(
        "GET",
        "/v1/models/{id}",
        openai_models.get_openai_model,
        "One model in OpenAI's or Anthropic's form",
        {200: Answer(json((OpenAIModel, AnthropicModel)))},
        scope="read",
        parameters={"id": "A name or an alias of the model; a slash in it need not be escaped."},
        slashes=True,
        headers=(VERSION,),
        errors=(errors.ModelNotFound,),
    ),
    Route(
        "POST",
        "/v1/files",
        openai_files.post_file,
        "Send the lines of a batch in OpenAI's form",
        {200: Answer(json(FileObject), (REPLAYED,))},
        scope="inference",
        body=Body({"multipart/form-data": FORM}),
        headers=(REPEATABLE,),
        errors=(*KEPT, *BATCH),
    ),
    Route(
        "GET",
        "/v1/files",
        openai_files.get_files,
        "The files, newest first",
        {200: Answer(json(FileList))},
        scope="read",
        query=openai_files.FilesQuery,
        errors=OWN,
    ),
    Route(
        "GET",
        "/v1/files/{id}",
        openai_files.get_file,
        "One file",
        {200: Answer(json(FileObject))},
        scope="read",
        parameters=FILE_ID,
        errors=KEPT,
    ),
    Route(
        "GET",
        "/v1/files/{id}/content",
        openai_files.get_content,
        "A batch's output or errors",
        {
            200: Answer(
                {NDJSON: "Lines of JSON: `id`, `custom_id`, `response` (`status_code`, `request_id`, `body`), `error`."}
            )
        },
        scope="read",
        parameters=FILE_ID,
        errors=(errors.InvalidRequest, *KEPT),
    ),
    Route(
        "DELETE",
        "/v1/files/{id}",
        openai_files.delete_one,
        "Delete a file",
        {200: Answer(json(FileDeleted))},
        scope="inference",
        parameters=FILE_ID,
        errors=(*KEPT, errors.Conflict),
    ),
    Route(
        "POST",
        "/v1/batches",
        openai_batches.post_batch,
        "Create a batch from a file in OpenAI's form",
        {200: Answer(json(BatchObject), (REPLAYED, *RATE))},
        scope="inference",
        body=Body(json(BatchBody), examples.BATCH),
        headers=(REPEATABLE,),
        errors=(*KEPT, *BATCH),
    ),
    Route(
        "GET",
        "/v1/batches",
        openai_batches.get_batches,
        "The batches in OpenAI's form, newest first",
        {200: Answer(json(BatchList))},
        scope="read",
        query=openai_batches.OpenAIBatchesQuery,
        errors=OWN,
    ),
    Route(
        "GET",
        "/v1/batches/{id}",
        openai_batches.get_batch,
        "One batch in OpenAI's form",
        {200: Answer(json(BatchObject))},
        scope="read",
        parameters=BATCH_ID,
        errors=OWN,
    ),
    Route(
        "POST",
        "/v1/batches/{id}/cancel",
        openai_batches.cancel,
        "Cancel a batch in OpenAI's form",
        {200: Answer(json(BatchObject))},
        scope="inference",
        parameters=BATCH_ID,
        errors=OWN,
    ),
    Route(
        "POST",
        "/api/batches",
        batches.post_batch,
        "Create a batch",
        {201: Answer(json(Success[BatchView]), (BATCH_LOCATION, REPLAYED, *RATE))},
        scope="inference",
        query=batches.NewBatchQuery,
        body=Body(dict.fromkeys(batches.TYPES, "Lines of JSON, each a chat request with a `custom_id` of its own.")),
        headers=(REPEATABLE,),
        errors=(*BATCH, *OWN),
    ),
    Route(
        "GET",
        "/api/batches",
        batches.get_batches,
        "The batches, newest first",
        {200: Answer(json(Success[batches.Batches]))},
        scope="read",
        query=batches.BatchesQuery,
        errors=OWN,
    ),
    Route(
        "GET",
        "/api/batches/{id}",
        batches.get_batch,
        "One batch",
        {200: Answer(json(Success[BatchView]))},
        scope="read",
        parameters=BATCH_ID,
        errors=OWN,
    ),
    Route(
        "DELETE",
        "/api/batches/{id}",
        batches.cancel,
        "Cancel a batch",
        {200: Answer(json(Success[BatchView]))},
        scope="inference",
        parameters=BATCH_ID,
        errors=OWN,
    ),
    Route(
        "GET",
        "/api/batches/{id}/results",
        batches.get_results,
        "A batch's results",
        {
            200: Answer(
                {NDJSON: "Lines of JSON in the order of the input: `custom_id`, `status`, and `result` or `error`."}
            )
        },
        scope="read",
        query=batches.ResultsQuery,
        parameters=BATCH_ID,
        errors=KEPT,
    ),
    Route(
        "GET",
        "/api/models",
        models.get_models,
        "The catalogue",
        {200: Answer(json(Success[list[models.ListedModel]]))},
        scope="read",
    ),
    Route(
        "GET",
        "/api/account",
        account.get_account,
        "The wallet",
        {200: Answer(json(Success[Wallet]))},
        scope="read",
        errors=OWN,
    ),
    Route(
        "GET",
        "/api/usage",
        usage.get_usage,
        "Usage by day, model and key",
        {200: Answer(json(Success[usage.UsageAnswer]))},
        scope="read",
        query=usage.UsageQuery,
    ),
    Route(
        "GET",
        "/api/keys",
        keys.get_keys,
        "The account's keys",
        {200: Answer(json(Success[list[KeyRow]]))},
        scope="manage",
    ),
    Route(
        "POST",
        "/api/keys",
        keys.post_key,
        "Make a key",
        {201: Answer(json(Success[CreatedKey]))},
        scope="manage",
        body=Body(json(NewKeyBody), {"name": "for the website", "limit_usd": "25"}),
        errors=(errors.Conflict,),
    ),
    Route(
        "DELETE",
        "/api/keys/{key_id}",
        keys.delete_key,
        "Revoke a key",
        {200: Answer(json(Success[KeyRow]))},
        scope="manage",
        parameters=KEY_ID,
        errors=OWN,
    ),
    Route(
        "POST",
        "/api/keys/{key_id}/rotate",
        keys.post_rotation,
        "Replace a key",
        {201: Answer(json(Success[CreatedKey]))},
        scope="manage",
        body=Body(json(keys.RotationBody), {"grace_s": 3600}),
        parameters=KEY_ID,
        errors=(*OWN, errors.Conflict),
    ),
    Route(
        "GET",
        "/",
        docs.get_start,
        "Where to begin",
        {200: Answer(json(Success[docs.Links])), 302: Answer({}, (CONSOLE,))},
    ),
    Route("GET", "/healthz", health.get_healthz, "Alive", {200: Answer(json(health.Alive))}),
    Route(
        "GET",
        "/readyz",
        health.get_readyz,
        "Ready to serve",
        {200: Answer(json(health.Readiness)), 503: Answer(json(health.Readiness))},
    ),
    Route(
        "GET",
        "/openapi.json",
        docs.get_openapi,
        "This document",
        {200: Answer({"application/json": "OpenAPI 3.1."})},
    ),
    Route("GET", "/docs", docs.get_docs, "The manual", PAGE),
    Route("GET", "/docs/errors", docs.get_errors, "The error catalogue", PAGE),
    Route("GET", "/docs/billing", docs.get_billing, "What is charged", PAGE),
    Route("GET", "/docs/fields", docs.get_fields, "What becomes of each field", PAGE),
    Route("GET", "/docs/guides", docs.get_guides, "The guides", PAGE),
    Route("GET", "/docs/clients", docs.get_clients, "The clients", PAGE),
    Route("GET", "/docs/guides/{name}", docs.get_guide, "A guide", PAGE, parameters=NAME, errors=OWN),
    Route("GET", "/docs/clients/{name}", docs.get_client, "A client's page", PAGE, parameters=NAME, errors=OWN),
    Route(
        "GET",
        "/docs/ui/{file}",
        docs.get_ui,
        "The API explorer",
        {200: Answer(dict.fromkeys(docs.MEDIA_TYPES.values(), "A file."))},
        parameters={"file": "A file of the explorer; it begins with `index.html`."},
        errors=OWN,
    ),
)
