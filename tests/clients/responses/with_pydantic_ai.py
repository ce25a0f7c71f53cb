"""pydantic-ai."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.output import NativeOutput
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.responses.asking import Town, Weather, say_all


class PydanticAI:
    """`Agent`, with its model for the Responses API."""

    def __init__(self, url: str, key: str, model: str) -> None:
        client = AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
        self._model = OpenAIResponsesModel(model, provider=OpenAIProvider(openai_client=client))

    async def text(self, prompt: str) -> str:
        """`run`."""
        return str((await self._agent().run(prompt)).output)

    async def stream(self, prompt: str) -> list[str]:
        """`run_stream`, which raises nothing for a response that failed: it is told in the finish reason."""
        async with self._agent().run_stream(prompt) as result:
            pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
            if await result.get_output() != "".join(pieces) or result.response.finish_reason != "stop":
                raise AssertionError("the answer is not whole")
        return pieces

    async def tools(self, prompt: str, tool: Weather, *, streamed: bool, goes_on: bool) -> str:
        """It calls the tool itself. With somebody who listens to events it asks for streams."""
        agent = self._agent(tools=[tool.weather])
        settings = {"openai_previous_response_id": "auto"} if goes_on else {}
        handler = _listen if streamed else None
        return str((await agent.run(prompt, model_settings=settings, event_stream_handler=handler)).output)

    async def schema(self, prompt: str) -> Town:
        """`NativeOutput`: the answer itself has the form."""
        output = (await self._agent(output_type=NativeOutput(Town)).run(prompt)).output
        return Town.model_validate(output)

    def _agent(self, **fields: Any) -> Any:
        return Agent(self._model, instructions="Use the tool.", **fields)


async def _listen(context: object, events: AsyncIterable[object]) -> None:
    async for _ in events:
        pass


if __name__ == "__main__":
    say_all(PydanticAI)
