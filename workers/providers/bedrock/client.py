"""Amazon Bedrock's clients and errors. There is one `aioboto3` client per region, created when it is first needed and kept
open.

Errors: docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html and the pages of each call (read 2026-11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aioboto3
import aiohttp
import msgspec
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.eventstream import ParserError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from botocore.tokens import FrozenAuthToken

from shared.errors import RebootError
from workers.providers.protocol import Limits
from workers.providers.wire import vendor_errors
from workers.providers.wire.large_fields import whole_body
from workers.providers.wire.sending import REFUSED_FROM, WholeBody, aiohttp_trace
from workers.providers.wire.sse import whole

REGION_DEFAULT = "us-east-1"
SDK_EXTRAS = Path(__file__).with_name("sdk_extras")
"""Fields that botocore 1.40 does not know yet, in botocore's own form: the `ttl` of a `cachePoint`, and `cacheDetails`,
the time for which written tokens are kept
(docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CachePointBlock.html and …/API_runtime_TokenUsage.html,
read 2026-11).
"""
STATUSES = {
    "throttlingexception": 429,
    "toomanyrequestsexception": 429,
    "modelnotreadyexception": 503,
    "serviceunavailableexception": 503,
    "modeltimeoutexception": 504,
    "internalserverexception": 500,
    "modelerrorexception": 500,
    "modelstreamerrorexception": 500,
    "validationexception": 400,
    "resourcenotfoundexception": 404,
    "accessdeniedexception": 403,
    "expiredtokenexception": 403,
    "incompletesignature": 403,
    "invalidsignatureexception": 403,
    "missingauthenticationtokenexception": 403,
    "unrecognizedclientexception": 403,
    "servicequotaexceededexception": 402,
}
"""The HTTP status that each exception means. Bedrock's own status is missing in a stream, and is 400 for an exceeded
quota.
"""


class Clients:
    """Clients by region. The SDK's own retries are off, because hidden retries could be neither charged nor limited."""

    def __init__(self, environment: Mapping[str, str], limits: Limits) -> None:
        self._endpoint = environment.get("AWS_ENDPOINT_URL_BEDROCK_RUNTIME") or None
        token = environment.get("AWS_BEARER_TOKEN_BEDROCK") or None
        self._session = aioboto3.Session(
            botocore_session=_sdk_session(token),
            aws_access_key_id=environment.get("AWS_ACCESS_KEY_ID") or None,
            aws_secret_access_key=environment.get("AWS_SECRET_ACCESS_KEY") or None,
            aws_session_token=environment.get("AWS_SESSION_TOKEN") or None,
        )
        self._region: str = environment.get("AWS_REGION") or self._session.region_name or REGION_DEFAULT
        self._config = AioConfig(
            connect_timeout=limits.connect_s,
            read_timeout=limits.read_s,
            # with the SDK's default of 10, the eleventh stream would silently wait
            max_pool_connections=limits.connections,
            retries={"total_max_attempts": 1, "mode": "standard"},
            http_session_cls=_TracedCalls,
            signature_version=_signature(environment),
        )
        self._clients: dict[str, Any] = {}
        self._stack = AsyncExitStack()
        self._making = asyncio.Lock()

    async def client_in(self, region: str | None) -> Any:  # noqa: ANN401 - botocore makes its clients at run time
        """The client of `region`, or of the default region."""
        name = region or self._region
        async with self._making:
            if name not in self._clients:
                making = self._session.client(
                    "bedrock-runtime", region_name=name, endpoint_url=self._endpoint, config=self._config
                )
                client = await self._stack.enter_async_context(making)
                client.meta.events.register("before-call.bedrock-runtime", _complete)
                self._clients[name] = client
        return self._clients[name]

    async def close(self) -> None:
        """Close all clients."""
        self._clients.clear()
        await self._stack.aclose()


def _complete(params: dict[str, Any], **_: object) -> None:
    """Complete the body. The SDK calls this hook between encoding a body and signing the request."""
    params["body"] = whole_body(params["body"])


def _signature(environment: Mapping[str, str]) -> str | None:
    """The kind of credentials in `environment` that the SDK must use. By itself it would use a token of the process's
    environment even for another account's keys.
    """
    if environment.get("AWS_BEARER_TOKEN_BEDROCK"):
        return "bearer"
    return "v4" if environment.get("AWS_ACCESS_KEY_ID") else None


class _Token:
    """Replaces the SDK's own search for tokens."""

    def __init__(self, token: str) -> None:
        self._token = FrozenAuthToken(token)

    def load_token(self, **_: object) -> FrozenAuthToken:
        return self._token


def _sdk_session(token: str | None = None) -> AioSession:
    """The SDK's session, with its model of this API extended: it refuses unknown fields in requests and drops them from
    answers. `token` is a key of Bedrock's own kind.
    """
    session = AioSession()
    if token:
        session.register_component("token_provider", _Token(token))
    session.get_component("data_loader").search_paths.append(str(SDK_EXTRAS))
    return session


class TracedSession(AIOHTTPSession):  # type: ignore[misc] # aiobotocore has no types
    """The SDK's transport, which creates a session for each proxy; none of them follows redirects."""

    async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        if not session.trace_configs:
            trace = aiohttp_trace()
            trace.freeze()  # as aiohttp does with traces that it is given
            session.trace_configs.append(trace)
        return session


class _TracedCalls(TracedSession):
    """A transport that reports the progress of each call. Of an answer that the SDK reads as a whole, it reads no more
    bytes than an answer can have.
    """

    async def send(self, request: Any) -> Any:  # noqa: ANN401 - botocore's prepared request and answer
        request.body = WholeBody(request.body)
        streams, request.stream_output = request.stream_output, True
        answer = await super().send(request)
        if not streams or answer.status_code >= REFUSED_FROM:
            try:
                answer._content = await whole(answer.raw.content.iter_any())  # noqa: SLF001 - where the SDK keeps it
            except BaseException:
                answer.raw.close()
                raise
        return answer


@asynccontextmanager
async def vendor_failures() -> AsyncIterator[None]:
    """Turn every error of AWS's SDK and its transport within the block into a `RebootError`."""
    try:
        yield
    except ClientError as error:
        raise from_client_error(error) from error
    except (ReadTimeoutError, TimeoutError) as error:
        raise vendor_errors.timed_out() from error
    except ConnectTimeoutError as error:
        raise vendor_errors.unreachable() from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError) as error:
        raise vendor_errors.credentials() from error
    except ParamValidationError as error:
        raise vendor_errors.rejected("ParamValidationError") from error
    except ParserError as error:
        raise vendor_errors.no_answer() from error
    except HTTPClientError as error:  # any other error that was raised inside
        inside = error.kwargs.get("error")
        raise (inside if isinstance(inside, RebootError) else vendor_errors.disconnected()) from error
    except (BotoCoreError, aiohttp.ClientError, OSError) as error:
        raise vendor_errors.disconnected() from error
    except (ResponseParserError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise vendor_errors.no_answer() from error


def from_client_error(error: ClientError) -> RebootError:
    """The error that the exception's name means (its first letter is small in a stream); without a name, the error for
    the status.
    """
    code = str(error.response.get("Error", {}).get("Code") or "")
    prose = str(error.response.get("Error", {}).get("Message") or "")
    metadata: dict[str, Any] = dict(error.response.get("ResponseMetadata") or {})
    status = STATUSES.get(code.lower()) or int(metadata.get("HTTPStatusCode") or 500)
    if "on-demand throughput" in prose:
        return vendor_errors.not_here()
    wait_s = vendor_errors.retry_after_s(metadata.get("HTTPHeaders") or {})
    return vendor_errors.from_status(status, code, prose=prose, wait_s=wait_s)
