"""OpenAI's own client."""

from __future__ import annotations

import json
from typing import Any

from openai import AsyncOpenAI

from tests.clients.responses.asking import Town, Weather, say_all

WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class OpenAIs:
    """`client.responses`."""

    def __init__(self, url: str, key: str, model: str) -> None:
        self._responses = AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0).responses
        self._model = model

    async def text(self, prompt: str) -> str:
        """`create`."""
        return (await self._responses.create(model=self._model, input=prompt)).output_text

    async def stream(self, prompt: str) -> list[str]:
        """The manager of a stream, which puts the response together."""
        async with self._responses.stream(model=self._model, input=prompt) as stream:
            pieces = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            final = await stream.get_final_response()
        if final.output_text != "".join(pieces):
            raise AssertionError("the response is not what was streamed")
        return pieces

    async def tools(self, prompt: str, tool: Weather, *, streamed: bool, goes_on: bool) -> str:
        """As its documentation does it: what was said and what the tool said are put behind the input."""
        sent: list[Any] = [{"role": "user", "content": prompt}]
        previous: dict[str, str] = {}
        while True:
            response = await self._response(sent, streamed=streamed, **previous)
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                return str(response.output_text)
            outputs = [_output(call, tool) for call in calls]
            sent = outputs if goes_on else [*sent, *response.output, *outputs]
            previous = {"previous_response_id": response.id} if goes_on else {}

    async def schema(self, prompt: str) -> Town:
        """`parse`."""
        parsed = (await self._responses.parse(model=self._model, input=prompt, text_format=Town)).output_parsed
        return Town.model_validate(parsed)

    async def _response(self, sent: list[Any], *, streamed: bool, **previous: str) -> Any:
        question: Any = {"model": self._model, "input": sent, "tools": [WEATHER], **previous}
        if not streamed:
            return await self._responses.create(**question)
        async with self._responses.stream(**question) as stream:
            return await stream.get_final_response()


def _output(call: Any, tool: Weather) -> dict[str, str]:
    said = tool.weather(**json.loads(call.arguments))
    return {"type": "function_call_output", "call_id": call.call_id, "output": said}


if __name__ == "__main__":
    say_all(OpenAIs)
