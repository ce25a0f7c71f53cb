"""A response in the background, and a client that does not give up: it asks until it was heard, reads on at another front
door whenever one dies, and looks until the response has ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec

from deploy.simulator.answer import answer
from deploy.simulator.script import Script
from shared.catalogue.models import Catalogue
from tests.faults.clients import Question

TOOL: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
ENDED = frozenset({"completed", "incomplete", "failed", "cancelled"})
LAST_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})
DELTAS = frozenset({"response.output_text.delta", "response.function_call_arguments.delta"})
THOUGHT = "response.reasoning_summary_text.delta"
ENCRYPTED = "reasoning.encrypted_content"
AGAIN_S = 0.05
PATH = "/v1/responses"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for; `tool`: the model is to call it; `effort`: it is to think so hard, and to show it."""

    model: str
    script: Script
    stream: bool
    tool: bool
    effort: str | None = None

    @property
    def thoughts(self) -> dict[str, Any]:
        """What a body says of them."""
        shown = {"effort": self.effort, "summary": "auto"}
        return {"reasoning": shown, "include": [ENCRYPTED]} if self.effort else {}

    def body(self) -> dict[str, Any]:
        message = Question(form="json", script=self.script).message
        body: dict[str, Any] = {"model": self.model, "input": message, "background": True, "stream": self.stream}
        return body | ({"tools": [TOOL]} if self.tool else {}) | self.thoughts

    def said(self, catalogue: Catalogue) -> str:
        """The whole text that the vendor sends."""
        return "".join(answer(catalogue.find(self.model).vendor_model, "", self.script))


class Background:
    """One of them. `events` is what was read of its stream, however often that broke off; `shown` how it stood at last."""

    def __init__(self, session: aiohttp.ClientSession, door: Callable[[], str], wanted: Wanted) -> None:
        """`door` gives the address to go to next."""
        self._session = session
        self._door = door
        self.wanted = wanted
        self.id = ""
        self.events: list[dict[str, Any]] = []
        self.shown: dict[str, Any] = {}
        self.asked = self.resumed = 0
        self.refusals: list[str] = []
        self.ended_by_its_worker = False
        """Whether that is certain: nobody had been killed yet."""

    @property
    def request_id(self) -> str:
        return self.id.replace("resp_", "req_")

    @property
    def has_begun(self) -> bool:
        """Whether the caller has a piece of the answer."""
        return any(event["type"] in {*DELTAS, THOUGHT} for event in self.events)

    async def ask(self) -> None:
        """With an Idempotency-Key, so that it is safe to ask again."""
        while not self.id:
            self.asked += 1
            headers = {"Idempotency-Key": self.wanted.script.key}
            with suppress(aiohttp.ClientError):
                async with self._session.post(self._door() + PATH, json=self.wanted.body(), headers=headers) as reply:
                    await self._take(reply, streamed=self.wanted.stream)
            await asyncio.sleep(0 if self.id else AGAIN_S)

    async def until_ended(self) -> None:
        """Read its stream to the end, or look again and again."""
        while self.wanted.stream and not self._is_read:
            self.resumed += 1
            await self._get(f"?stream=true&starting_after={self.events[-1]['sequence_number']}", streamed=True)
        await self.look()

    async def look(self) -> None:
        """Until it shows that it has ended."""
        self.shown = {}
        while self.shown.get("status") not in ENDED:
            await self._get("", streamed=False)
            await asyncio.sleep(AGAIN_S)

    async def cancel(self) -> None:
        """Until that was heard."""
        while True:
            with suppress(aiohttp.ClientError):
                async with self._session.post(f"{self._door()}{PATH}/{self.id}/cancel") as reply:
                    if reply.status == 200:
                        return
                    self.refusals.append(await _code(reply))
            await asyncio.sleep(AGAIN_S)

    async def read_again(self) -> list[dict[str, Any]]:
        """Its events from the beginning, at a front door that lives."""
        async with self._session.get(f"{self._door()}{PATH}/{self.id}?stream=true") as reply:
            assert reply.status == 200
            lines = (await reply.read()).split(b"\n")
        return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]

    async def goes_on(self) -> list[str]:
        """What is wrong when all of it is sent back, thoughts too, and its vendor is asked to go on."""
        output = self.shown["output"]
        results = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "sunny"}
            for item in output
            if item["type"] == "function_call"
        ]
        more = results or [{"role": "user", "content": "[[sim tokens=2 reasoning=1]]"}]
        talk = [{"role": "user", "content": self.wanted.body()["input"]}, *output, *more]
        body = {"model": self.wanted.model, "input": talk, "store": False, **self.wanted.thoughts, "tools": [TOOL]}
        async with self._session.post(self._door() + PATH, json=body) as reply:
            if reply.status != 200:
                return [f"{self.id} ({self.wanted.model}) cannot be gone on with: {await reply.text()}"]
            ignored = reply.headers.get("x-ignored")
            return [f"{self.id} ({self.wanted.model}) loses {ignored} when it is gone on with"] if ignored else []

    @property
    def _is_read(self) -> bool:
        return bool(self.events) and self.events[-1]["type"] in LAST_EVENTS

    async def _get(self, query: str, *, streamed: bool) -> None:
        with suppress(aiohttp.ClientError):
            async with self._session.get(f"{self._door()}{PATH}/{self.id}{query}") as reply:
                await self._take(reply, streamed=streamed)
        await asyncio.sleep(0 if self._is_read else AGAIN_S)

    async def _take(self, reply: aiohttp.ClientResponse, *, streamed: bool) -> None:
        if reply.status != 200:
            self.refusals.append(await _code(reply))
            return
        if not streamed:
            self.shown = await reply.json()
            self.id = self.shown["id"]
            return
        async for line in reply.content:
            if line.startswith(b"data: ") and line.endswith(b"\n"):
                self.events.append(json.loads(line[6:]))
                self.id = self.id or self.events[0]["response"]["id"]


async def _code(reply: aiohttp.ClientResponse) -> str:
    return str((await reply.json())["error"]["code"])


def flaws(one: Background, again: list[dict[str, Any]], expected: str) -> list[str]:
    """What is wrong with what its caller was told; `again` are its events as they are read anew."""
    shown = one.shown
    found = []
    if one.wanted.stream and _without_usage(one.events) != _without_usage(again):
        found.append("was streamed otherwise than it is read again")
    if [event["sequence_number"] for event in again] != list(range(len(again))):
        found.append("has events that are missing or doubled")
    if again[-1]["type"] not in LAST_EVENTS or _without_usage([again[-1]["response"]]) != _without_usage([shown]):
        found.append(f"ends its stream with {again[-1]} and is shown as {shown}")
    pieces = "".join(event["delta"] for event in again if event["type"] in DELTAS)
    said = "".join(_said(item) for item in shown["output"])
    if pieces != said:
        found.append(f"was streamed as {len(pieces)} characters and is shown with {len(said)}")
    summaries = "".join(part["text"] for item in shown["output"] for part in item.get("summary", ()))
    if summaries != "".join(event["delta"] for event in again if event["type"] == THOUGHT):
        found.append("was streamed with other thoughts than it is shown with")
    if not one.wanted.tool and not expected.startswith(said):
        found.append("says something else than the vendor sent")
    if shown["status"] == "completed":
        found += _incomplete(one, said, expected)
    return [f"{one.id} ({one.wanted.model}) {flaw}" for flaw in found]


def _incomplete(one: Background, said: str, expected: str) -> list[str]:
    thoughts = [item for item in one.shown["output"] if item["type"] == "reasoning"]
    if bool(thoughts) != bool(one.wanted.effort) or not all(thought["encrypted_content"] for thought in thoughts):
        return [f"is completed with thoughts that are not whole: {thoughts}"]
    if one.wanted.tool:
        (call,) = (item for item in one.shown["output"] if item["type"] != "reasoning")
        is_whole = (
            call["type"] == "function_call" and call["name"] == TOOL["name"] and isinstance(json.loads(said), dict)
        )
        return [] if is_whole else ["has no whole call of its tool"]
    tokens = one.wanted.script.tokens + one.wanted.script.reasoning
    is_whole = said == expected and one.shown["usage"]["output_tokens"] == tokens
    return [] if is_whole else [f"is completed with {len(said)} of {len(expected)} characters"]


def _said(item: dict[str, Any]) -> str:
    return str(item["content"][0]["text"] if item["type"] == "message" else item.get("arguments", ""))


def _without_usage(shown: Any) -> Any:
    """What it cost is in the books a moment after its end is told."""
    if isinstance(shown, dict):
        return {name: _without_usage(value) for name, value in shown.items() if name != "usage"}
    return [_without_usage(value) for value in shown] if isinstance(shown, list) else shown
