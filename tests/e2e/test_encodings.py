"""Files and bodies as other programs save them: a byte order mark is taken, another encoding is refused once and in words."""

from __future__ import annotations

import codecs
import json
from typing import Any

import pytest

from tests.e2e.test_batch_cli import DONE, REFUSED, Cli, cli
from tests.e2e.test_batches import NDJSON, line, results, until
from tests.e2e.test_openai_batches import form, jsonl
from tests.e2e.test_openai_batches import line as openai_line
from tests.harness.caller import MODEL, Caller, told

__all__ = ["cli"]
BOM = codecs.BOM_UTF8
TEXT = f"{told(tokens=2)} é"
OTHERS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"]
PATHS = {
    "/api/endpoint": {"model": MODEL, "messages": [{"role": "user", "content": TEXT}]},
    "/v1/chat/completions": {"model": MODEL, "messages": [{"role": "user", "content": TEXT}]},
    "/v1/messages": {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": TEXT}]},
}


def lines_of(*ids: str) -> bytes:
    return b"".join(json.dumps(line(one, TEXT), ensure_ascii=False).encode() + b"\n" for one in ids)


def written(cli: Cli, data: bytes) -> str:
    """The name of a file in the command's folder."""
    (cli.folder / "lines.ndjson").write_bytes(data)
    return "lines.ndjson"


def said_of(document: Any) -> str:
    message: str = document["error"]["message"]
    return message


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_may_begin_with_a_mark_and_has_to_be_utf_8(caller: Caller, path: str) -> None:
    text, headers = json.dumps(PATHS[path], ensure_ascii=False), {"Content-Type": "application/json"}
    assert (await caller.request("POST", path, data=BOM + text.encode(), headers=headers)).status == 200
    for encoding in OTHERS:
        reply = await caller.request("POST", path, data=text.encode(encoding), headers=headers)
        assert reply.status == 400
        assert "send it in UTF-8" in said_of(reply.json)


async def test_marks_before_lines_lose_no_line(caller: Caller) -> None:
    data = BOM + lines_of("one", "two") + BOM + lines_of("three")  # as `copy a+b` puts files together
    made = (await caller.request("POST", "/api/batches", data=data, headers=NDJSON)).json["result"]
    ended = await until(caller, made["id"])
    assert (ended["counts"]["completed"], ended["counts"]["total"]) == (3, 3)
    assert [one["custom_id"] for one in await results(caller, made["id"])] == ["one", "two", "three"]


async def test_openais_files_may_begin_with_a_mark(caller: Caller) -> None:
    data = BOM + jsonl([openai_line("one", TEXT)])
    file = (await caller.request("POST", "/v1/files", data=form(data, ("purpose", "batch")))).json
    assert file["status_details"] is None


@pytest.mark.parametrize("encoding", OTHERS)
async def test_a_file_in_another_encoding_is_refused_as_a_whole(caller: Caller, encoding: str) -> None:
    text = lines_of("one", "two").decode()
    native = await caller.request("POST", "/api/batches", data=text.encode(encoding), headers=NDJSON)
    sent = form(text.encode(encoding), ("purpose", "batch"))
    for reply in (native, await caller.request("POST", "/v1/files", data=sent)):
        assert reply.status == 400
        assert "save it as UTF-8" in said_of(reply.json)
    assert (await caller.request("GET", "/api/batches")).json["result"]["batches"] == []


async def test_the_command_takes_a_mark_and_says_what_is_wrong_with_another_encoding(cli: Cli) -> None:
    path = written(cli, BOM + lines_of("one", "two"))
    assert (await cli.json("batch", "submit", path, "--watch", status=DONE))["counts"]["completed"] == 2
    written(cli, lines_of("one").decode().encode("utf-16"))
    ran = await cli("batch", "submit", path, "--watch")
    assert ran.status == REFUSED
    assert "The upload is in UTF-16: save it as UTF-8" in ran.err


async def test_the_command_fails_when_a_line_was_not_understood_also_when_it_does_not_wait(cli: Cli) -> None:
    path = written(cli, lines_of("one", "two") + b"{\n")
    made = await cli.json("batch", "submit", path, status=REFUSED)
    assert (made["state"], [error["line"] for error in made["errors"]]) == ("in_progress", [3])
    ran = await cli("batch", "submit", path)
    assert ran.status == REFUSED
    assert b"1 of 3 lines" in ran.out
    assert b"Line 3: " in ran.out
    assert (await cli("batch", "submit", written(cli, lines_of("one", "two")))).status == DONE


async def test_the_command_fails_when_a_line_fails_and_says_how_many(cli: Cli) -> None:
    path = written(cli, lines_of("one", "two") + b"{\n")
    made = await cli.json("batch", "submit", path, "--watch", status=REFUSED)
    assert (made["counts"]["completed"], made["counts"]["failed"]) == (2, 1)
    ran = await cli("batch", "show", made["id"], "--watch")
    assert ran.status == REFUSED
    assert b"1 of 3 lines" in ran.out
    assert (await cli("batch", "show", made["id"])).status == DONE
