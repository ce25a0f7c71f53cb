from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from api.http.state import REQUEST_ID, SETTINGS
from api.middleware import errors
from shared.settings import Settings


async def test_who_meets_a_fault_of_ours_is_not_told_that_it_is_free() -> None:
    """It may have happened after his request was admitted, which then runs on."""

    async def at_fault(_: web.Request) -> web.StreamResponse:
        raise AssertionError("nobody thought of this")

    app = web.Application()
    app[SETTINGS] = Settings.load({"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"})
    request = make_mocked_request("POST", "/v1/chat/completions", app=app)
    request[REQUEST_ID] = "req_1"
    request.writer.output_size = 0  # nothing of an answer was written yet
    answer = await errors(request, at_fault)
    assert isinstance(answer, web.Response)
    assert answer.status == 500
    assert answer.headers["x-should-retry"] == "false"
    assert "GET /api/requests/{id}" in (answer.text or "")
