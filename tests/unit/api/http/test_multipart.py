from __future__ import annotations

import asyncio

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from api.http.multipart import FileForm, file_form
from api.http.read_turns import ReadTurns
from api.http.state import CLOSES, READS, SETTINGS
from shared.errors import InvalidRequest
from shared.settings import Settings

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n{}\n\r\n'
    b"--b--\r\n"
)


async def a_form(body: bytes, *, ends: bool = True) -> tuple[FileForm, web.Request]:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    stream = StreamReader(protocol, 2**16, loop=loop)
    stream.feed_data(body)
    if ends:
        stream.feed_eof()
    app = web.Application()
    app[SETTINGS] = Settings(database_url="", redis_url="", body_within_s=0.05)
    app[READS] = ReadTurns()
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    request = make_mocked_request("POST", "/v1/files", headers, app=app, payload=stream)
    return await file_form(request), request


async def _read(form: FileForm) -> tuple[str, bytes]:
    return await form.to_file(), b"".join([chunk async for chunk in form.chunks()])


@pytest.mark.parametrize("before", [b"", b"\r\n"])
async def test_a_form_is_read_part_by_part(before: bytes) -> None:
    form, request = await a_form(before + FORM)
    assert await _read(form) == ("in.jsonl", b"{}\n")
    assert form.fields == {"purpose": "batch"}
    assert CLOSES not in request


@pytest.mark.parametrize("before", [b"\r\n" * 1_000, b"a preamble\r\n", b"\r\na preamble\r\n"])
async def test_lines_before_the_form_are_refused_and_not_passed_over(before: bytes) -> None:
    form, _ = await a_form(before + FORM)
    with pytest.raises(InvalidRequest, match="not a form"):
        await form.to_file()


@pytest.mark.parametrize("length", [5, 70, 140])
async def test_a_form_whose_sender_is_silent_ends_and_so_does_its_connection(length: int) -> None:
    form, request = await a_form(FORM[:length], ends=False)
    with pytest.raises(InvalidRequest, match="too slowly"):
        await _read(form)
    assert request[CLOSES]
