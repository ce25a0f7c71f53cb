"""Words that clients act on: a wrong key, missing credit, what is not offered, and what is the request's own fault."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from tests.e2e import anthropic_client, openai_client
from tests.e2e.conftest import NewCaller
from tests.harness.caller import Caller, told

READ_AS_ITS_OWN = ("x-api-key", "oauth", "organization has been disabled", "credit balance is too low")
"""Claude Code shows a text of its own in place of one that has any of these."""


@pytest.mark.parametrize("key", ["", "rml_wrong", "sk-ant-something"])
async def test_a_refused_key_has_no_word_that_claude_code_takes_for_its_own_sign_in(caller: Caller, key: str) -> None:
    async with caller.session.post(
        caller.url("/v1/messages"), json=anthropic_client.asked(told()), headers={"x-api-key": key}
    ) as response:
        text = (await response.text()).lower()
    assert response.status == 401
    assert "authentication_error" in text
    assert not [word for word in READ_AS_ITS_OWN if word in text]


async def test_missing_credit_is_told_in_our_words_and_asked_for_once(new_caller: NewCaller) -> None:
    poor = await new_caller(credit=0)
    async with anthropic_client.client_of(poor) as client:
        with pytest.raises(anthropic.APIStatusError, match="add credit") as raised:
            await client.messages.create(**anthropic_client.asked(told()))
    assert (raised.value.status_code, raised.value.type) == (402, "billing_error")
    assert anthropic_client.requests_made(raised.value) == 1
    assert not [word for word in READ_AS_ITS_OWN if word in raised.value.message.lower()]
    async with openai_client.client_of(poor) as (other, sent):
        with pytest.raises(openai.APIStatusError, match="add credit") as again:
            await other.chat.completions.create(**openai_client.asking(told()))
    assert (again.value.status_code, again.value.type, again.value.code) == (
        402,
        "insufficient_quota",
        "insufficient_credit",
    )
    assert len(sent) == 1


async def test_what_the_vendor_refuses_is_told_as_the_requests_fault_and_asked_once(caller: Caller) -> None:
    text = told(status=400)
    async with anthropic_client.client_of(caller) as client:
        with pytest.raises(anthropic.InternalServerError, match="would refuse it again") as raised:
            await client.messages.create(**anthropic_client.asked(text))
    assert (raised.value.type, raised.value.error_code) == ("invalid_request_error", "provider_rejected")
    assert anthropic_client.requests_made(raised.value) == 1
    async with openai_client.client_of(caller) as (other, sent):
        with pytest.raises(openai.InternalServerError, match="would refuse it again") as again:
            await other.chat.completions.create(**openai_client.asking(text))
    assert (again.value.type, again.value.code) == ("invalid_request_error", "provider_rejected")
    assert len(sent) == 1


async def test_the_openai_client_is_told_that_an_endpoint_is_not_offered_and_what_is(caller: Caller) -> None:
    async with openai_client.client_of(caller) as (client, sent):
        calls: list[Any] = [
            client.embeddings.create(model="m", input="x"),
            client.moderations.create(input="x"),
            client.images.generate(prompt="x"),
            client.audio.speech.create(model="m", voice="alloy", input="x"),
            client.completions.create(model="m", prompt="x"),
        ]
        for call in calls:
            with pytest.raises(
                openai.NotFoundError, match=r"does not offer POST /v1/\w+.*/v1/chat/completions"
            ) as raised:
                await call
            assert (raised.value.code, raised.value.type) == ("not_found", "not_found_error")
    assert len(sent) == len(calls)


async def test_anthropics_client_is_told_in_its_form_that_its_base_url_is_wrong(caller: Caller) -> None:
    for base in ("/v1", "/v1/messages"):
        async with anthropic.AsyncAnthropic(base_url=caller.url(base), api_key=caller.key) as client:
            with pytest.raises(
                anthropic.NotFoundError, match=r"set the client's base URL.*calls /v1/messages"
            ) as raised:
                await client.messages.create(**anthropic_client.asked(told()))
        assert (raised.value.type, raised.value.error_code) == ("not_found_error", "not_found")


async def test_the_openai_client_is_told_in_its_form_that_its_base_url_lacks_v1(caller: Caller) -> None:
    async with openai_client.client_of(caller, base_url=caller.url("")) as (client, _):
        with pytest.raises(openai.NotFoundError, match=r"calls /v1/chat/completions") as raised:
            await client.chat.completions.create(**openai_client.asking(told()))
    assert raised.value.code == "not_found"


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/chat/completions"), ("PUT", "/v1/messages")])
async def test_a_wrong_method_is_named_with_the_right_one(caller: Caller, method: str, path: str) -> None:
    reply = await caller.request(method, path)
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
    assert reply.json["error"]["message"] == f"This service does not offer {method} {path}: use POST."
