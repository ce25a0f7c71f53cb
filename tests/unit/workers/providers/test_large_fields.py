"""What a vendor's SDK does not see of a request travels as the SDK itself would write it, and under its signature."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aioboto3
import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from google import genai
from google.genai import types

from shared.chat import (
    ImagePart,
    ImageUrl,
    JsonAnswer,
    Message,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    Tools,
)
from shared.errors import RebootError
from tests.harness.builders import a_model
from workers.providers.bedrock import bedrock
from workers.providers.bedrock import converse as bedrock_converse
from workers.providers.gemini import gemini
from workers.providers.gemini import request as gemini_request
from workers.providers.protocol import Limits, Provider, ProviderRequest
from workers.providers.wire.large_fields import PARTS_IN_ONE_TURN

LIMITS = Limits(connections=2, connect_s=5, read_s=5)
KEY_ID, SECRET = "AKIA_OF_NOBODY", "secret"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"place": {"type": "string", "maxLength": 3}}}
PICTURE = ImagePart(ImageUrl("data:image/png;base64,/+8BAg=="))
TALK = [
    Message("system", "Be brief."),
    Message("user", [TextPart("Wéather?"), PICTURE]),
    Message("assistant", "", tool_calls=(ToolCall("call_1", "weather", '{"place": "Oslo", "n": 1e3}'),)),
    Message("tool", '{"rain": 3}', tool_call_id="call_1"),
    Message("user", "And?"),
]


class Vendor:
    """A server that keeps what it is sent, and refuses it."""

    def __init__(self) -> None:
        self.requests: list[tuple[web.Request, bytes]] = []
        app = web.Application(client_max_size=10_000_000)
        app.router.add_post("/{path:.*}", self._refuse)
        self.server = TestServer(app)

    async def _refuse(self, request: web.Request) -> web.Response:
        self.requests.append((request, await request.read()))
        return web.json_response({"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}, status=400)

    @property
    def url(self) -> str:
        return str(self.server.make_url("")).rstrip("/")

    def last_body(self) -> Any:
        return json.loads(self.requests[-1][1])


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    vendor = Vendor()
    await vendor.server.start_server()
    yield vendor
    await vendor.server.close()


def a_request(api: str, upstream: str, *, reasoning: bool = False, **changes: Any) -> ProviderRequest:
    fields: dict[str, Any] = {
        "id": "req_1",
        "model": a_model(api=api, vendor_model=upstream, reasoning=reasoning, limit_parameter="maxTokens"),
        "messages": TALK,
        "sampling": Sampling(temperature=0.5, json_answer=JsonAnswer(schema=SCHEMA)),
        "output_limit": 100,
        "stream": False,
        "tools": Tools(offered=(Tool(name="weather", description="At a place.", parameters=SCHEMA),)),
    }
    return ProviderRequest(**(fields | changes))


def gemini_of(vendor: Vendor) -> Provider:
    made = gemini.create({"GEMINI_API_KEY": "key", "GOOGLE_GEMINI_BASE_URL": vendor.url}, LIMITS)
    assert made
    return made


def bedrock_of(vendor: Vendor) -> Provider:
    address = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": vendor.url, "AWS_REGION": "us-east-1"}
    made = bedrock.create({"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, **address}, LIMITS)
    assert made
    return made


async def ask(provider: Provider, request: ProviderRequest) -> None:
    """Until the vendor has refused it."""
    with pytest.raises(RebootError):
        async for _ in provider.stream(request):
            pass
    await provider.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reasoning", [False, True])
async def test_gemini_gets_what_googles_sdk_would_write(vendor: Vendor, *, reasoning: bool, stream: bool) -> None:
    asked = a_request("gemini", "gemini-2.5-flash", reasoning=reasoning, stream=stream)
    await ask(gemini_of(vendor), asked)
    sent = vendor.last_body()
    assert sent["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": "/+8BAg=="}}
    assert sent["generationConfig"]["responseJsonSchema"] == SCHEMA
    understood = _as_google_understands(sent)
    config = gemini_request.parameters(asked)["config"].model_copy(
        update={
            "system_instruction": understood["systemInstruction"],
            "tools": understood["tools"],
            "response_json_schema": SCHEMA,
        }
    )
    async with httpx2.AsyncClient() as client:
        options = types.HttpOptions(base_url=vendor.url, api_version="v1beta", httpx_async_client=client)
        models = genai.Client(api_key="key", vertexai=False, http_options=options).aio.models
        with suppress(genai.errors.APIError):
            await models.generate_content(model="gemini-2.5-flash", contents=understood["contents"], config=config)
    assert _as_google_understands(vendor.last_body()) == understood


def _as_google_understands(body: dict[str, Any]) -> dict[str, Any]:
    """Names in either case, and bytes in either alphabet of base 64, as Google's API takes them, too."""
    return {
        **body,
        "contents": [types.Content.model_validate(content) for content in body["contents"]],
        "systemInstruction": types.Content.model_validate(body["systemInstruction"]),
        "tools": [types.Tool.model_validate(tool) for tool in body["tools"]],
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_converse_gets_what_awss_sdk_would_write_and_a_signature_of_all_of_it(
    vendor: Vendor, *, stream: bool
) -> None:
    asked = a_request("bedrock-converse", "amazon.nova-lite-v1:0", stream=stream)
    await ask(bedrock_of(vendor), asked)
    request, body = vendor.requests[-1]
    assert _signature_of(request, body) in request.headers["Authorization"]
    session = aioboto3.Session(aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name="us-east-1")
    async with session.client("bedrock-runtime", endpoint_url=vendor.url) as client:
        with suppress(client.exceptions.ClientError):
            await client.converse(**bedrock_converse.parameters(asked))
    assert json.loads(body) == vendor.last_body()
    assert json.loads(body)["messages"][0]["content"][1]["image"]["source"]["bytes"] == "/+8BAg=="


def _signature_of(request: web.Request, body: bytes) -> str:
    names = request.headers["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    signed = {name: request.headers[name] for name in names}
    again = AWSRequest("POST", f"http://{request.host}{request.raw_path}", headers=signed, data=body)
    again.context["timestamp"] = request.headers["X-Amz-Date"]
    signer = SigV4Auth(Credentials(KEY_ID, SECRET), "bedrock", "us-east-1")
    return str(signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again))


def test_an_sdk_is_given_as_much_for_a_large_request_as_for_a_small_one() -> None:
    large: dict[str, Any] = {
        "messages": [Message("system", "x" * 1_000), Message("user", [TextPart("x")] * 1_000)],
        "sampling": Sampling(temperature=0.5, json_answer=JsonAnswer(schema={"enum": [[]] * 1_000})),
        "tools": Tools(offered=(Tool(name="weather", parameters={"enum": [[]] * 1_000}),) * 100),
    }
    of_google = [gemini_request.parameters(a_request("gemini", "gemini", **more)) for more in ({}, large)]
    assert of_google[0] == of_google[1]
    of_aws = [bedrock_converse.parameters(a_request("bedrock-converse", "nova", **more)) for more in ({}, large)]
    small = [bedrock_converse._apart(given)[0] for given in of_aws]
    assert (
        small[0]
        == small[1]
        == {
            "modelId": "nova",
            "inferenceConfig": {"maxTokens": 100, "temperature": 0.5},
        }
    )


@pytest.mark.parametrize("api", ["gemini", "bedrock-converse"])
async def test_a_talk_of_many_parts_arrives_whole(vendor: Vendor, api: str) -> None:
    """It is put into the vendor's words beside the event loop."""
    parts = PARTS_IN_ONE_TURN + 1
    asked = a_request(api, "model", messages=[Message("user", [TextPart("x")] * parts)])
    await ask({"gemini": gemini_of, "bedrock-converse": bedrock_of}[api](vendor), asked)
    body = vendor.last_body()
    (message,) = body["contents"] if api == "gemini" else body["messages"]
    assert len(message["parts"] if api == "gemini" else message["content"]) == parts
