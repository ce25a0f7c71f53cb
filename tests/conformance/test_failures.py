"""Whatever a vendor does wrong becomes one error of the contract, after one call."""

from __future__ import annotations

import pytest

from shared.chat import Message
from shared.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelRetired,
    OperatorCredentials,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    RebootError,
)
from tests.conformance.cases import CASES, Answer, Case, Vendors, expected, of, over, promise, streaming
from workers.providers.wire.vendor_errors import CreditUsedUp, NotHere, Throttled

STATUSES: dict[int, type[RebootError]] = {
    400: ProviderRejected,
    401: OperatorCredentials,
    402: CreditUsedUp,
    403: OperatorCredentials,
    404: ModelRetired,
    408: ProviderTimeout,
    422: ProviderRejected,
    424: ProviderError,
    429: Throttled,
    500: ProviderError,
    502: ProviderError,
    503: ProviderBusy,
}
OTHERWISE: dict[tuple[str, int], type[RebootError]] = {
    ("openai-realtime", 408): ProviderError,  # an event names no status
    ("gemini", 402): Throttled,  # what Google says of a spent quota is what it says of a rate
    ("gemini", 422): OperatorCredentials,  # FAILED_PRECONDITION: the account's location or billing
    ("gemini", 502): ProviderBusy,  # UNAVAILABLE
    ("bedrock-converse", 403): NotHere,  # AWS's words for a model that the account has no access to
    ("bedrock-invoke", 403): NotHere,
    ("bedrock-converse", 502): ProviderBusy,  # ServiceUnavailableException
    ("bedrock-invoke", 502): ProviderBusy,
}
BROKEN = ("cut", "fin", "early_end", "garbage", "empty")
HTML: dict[str, object] = {"fault": "html"}


def is_exactly(got: Answer, kind: type[RebootError]) -> bool:
    """The very class, one call, and nothing that looks like an end."""
    return type(got.error) is kind and len(got.calls) == 1 and not got.finished


@promise("each status is its error")
@over()
@pytest.mark.parametrize("status", STATUSES)
async def test_status(vendors: Vendors, case: Case, status: int) -> None:
    got = await vendors.ask(case, f"status={status}")
    assert is_exactly(got, OTHERWISE.get((case.api, status), STATUSES[status])), got


@promise("a vendor's request for patience is passed on")
@over(*(case for case in CASES if case.api != "openai-realtime"))
async def test_retry_after(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "status=429 retry_after=7")
    assert got.error is not None
    assert got.error.retry_after_s == 7.0


@promise("the vendor's prose never reaches a message")
@over()
@pytest.mark.parametrize("status", STATUSES)
async def test_no_prose(vendors: Vendors, case: Case, status: int) -> None:
    error = (await vendors.ask(case, f"status={status}")).error
    assert error is not None
    for word in ("sk-", "API Key", "location", "Incorrect", "quota", "security token", "plan and billing"):
        assert word not in error.message


@promise("a broken answer is an error, never a short success")
@over()
@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("after", [0, 3])
async def test_broken_answer(vendors: Vendors, case: Case, fault: str, after: int) -> None:
    got = await vendors.ask(case, f"tokens=9 fault={fault} after={after}")
    assert is_exactly(got, ProviderError), got
    assert expected(case, "tokens=9", got.call.key).startswith(got.text)


@promise("a page in HTML is an error")
@over(*(case for case in CASES if case.api != "openai-realtime"))
@pytest.mark.parametrize("status", [200, 502])
async def test_html(vendors: Vendors, case: Case, status: int) -> None:
    got = await vendors.ask(case, f"fault=html status={status}")
    assert is_exactly(got, ProviderError), got


@promise("an end without its terminal marker is an error")
@over(*(case for case in CASES if case.stream and case.api != "openai-realtime"))
async def test_no_terminal_marker(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=9 fault=no_finish")
    assert is_exactly(got, ProviderError), got
    assert got.text == expected(case, "tokens=9", got.call.key)


@promise("an end without its terminal marker is an error")
@of("openai-realtime")
async def test_no_response_done(vendors: Vendors, case: Case) -> None:
    assert is_exactly(await vendors.ask(case, "tokens=9 fault=no_done"), ProviderError)


@promise("what came before a failure was passed on")
@streaming()
async def test_text_before_a_failure(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=9 fault=error_event after=4 status=500 pace_ms=1")
    assert is_exactly(got, ProviderError), got
    assert got.text == expected(case, "tokens=4", got.call.key)


@promise("an error inside a stream is its error")
@streaming()
@pytest.mark.parametrize("after", [0, 4])
async def test_error_inside_a_stream(vendors: Vendors, case: Case, after: int) -> None:
    busy = await vendors.ask(case, f"tokens=9 fault=error_event after={after} status=429")
    assert is_exactly(busy, Throttled), busy
    failed = await vendors.ask(case, f"tokens=9 fault=error_event after={after} status=500")
    assert is_exactly(failed, ProviderError), failed


@promise("an error object in a 200 is no answer")
@over()
async def test_error_in_a_200(vendors: Vendors, case: Case) -> None:
    assert is_exactly(await vendors.ask(case, "fault=error_event status=500"), ProviderError)


@promise("tokens told before a failure are passed on")
@over(*(case for case in CASES if case.api == "gemini" and case.stream))
async def test_tokens_before_a_failure(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "tokens=9 fault=error_event after=4 status=500")
    last = got.reported[-1]
    assert last is not None
    assert (last.input, last.output) == (got.call.prompt_tokens, 4)


@promise("a model that is gone is `model_retired`")
@over()
async def test_retired(vendors: Vendors, case: Case) -> None:
    assert is_exactly(await vendors.ask(case, "fault=retired"), ModelRetired)


@promise("a prompt that is too long is `context_length_exceeded`")
@over()
async def test_too_long(vendors: Vendors, case: Case) -> None:
    long = Message("user", "word " * (case.model.context_window * 4 // 5 + 20))
    got = await vendors.ask(case, "", messages=(long, Message("assistant", "Yes.")), output_limit=16)
    assert type(got.error) is ContextLengthExceeded


@promise("a blocked prompt is the caller's fault, or a blocked answer where the vendor says it so")
@over(*(case for case in CASES if case.model.company != "AI21"))
async def test_blocked_prompt(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "fault=blocked")
    if case.model.provider == "bedrock":
        assert got.finished == ["content_filter"]
    else:
        assert is_exactly(got, InvalidRequest), got


@promise("an answer that the vendor gave up is an error")
@over(*(case for case in CASES if case.api in {"openai-responses", "deepseek-chat", "bedrock-converse", "gemini"}))
async def test_given_up(vendors: Vendors, case: Case) -> None:
    words = {
        "openai-responses": "max_messages",
        "deepseek-chat": "insufficient_system_resource",
        "bedrock-converse": "malformed_model_output",
        "gemini": "MALFORMED_FUNCTION_CALL",
    }
    assert is_exactly(await vendors.ask(case, f"tokens=3 finish={words[case.api]}"), ProviderError)


@promise("what the vendor would refuse for certain is refused before the call")
@of("bedrock-converse", "bedrock-invoke", "gemini")
async def test_blank_end(vendors: Vendors, case: Case) -> None:
    got = await vendors.ask(case, "", after=(Message("assistant", "Yes."), Message("user", " \n")))
    assert type(got.error) is InvalidRequest
    assert not got.calls


@promise("an empty answer that is sent back does no harm")
@over()
async def test_blank_message(vendors: Vendors, case: Case) -> None:
    for blank in (Message("assistant", ""), Message("assistant", []), Message("user", "")):
        got = await vendors.ask(case, "tokens=2", messages=(Message("user", "Hello"), blank, blank))
        assert (got.error, got.finished) == (None, ["stop"])


@promise("a refused handshake is its error")
@of("openai-realtime")
@pytest.mark.parametrize("refusal", [{"status": status, "retry_after": 7} for status in (401, 404, 429, 500)] + [HTML])
async def test_refused_handshake(vendors: Vendors, case: Case, refusal: dict[str, object]) -> None:
    vendors.simulator.simulator.set_defaults(refusal)
    try:
        got = await vendors.ask(case)
    finally:
        vendors.simulator.simulator.set_defaults({})
    assert type(got.error) is (ProviderError if refusal is HTML else STATUSES[refusal["status"]])  # type: ignore[index]
