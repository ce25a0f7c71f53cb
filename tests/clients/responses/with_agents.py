"""openai-agents."""

from __future__ import annotations

from typing import Any

from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

from tests.clients.responses.asking import Town, Weather, say_all


class Agents:
    """`Runner`, with the SDK's model for the Responses API."""

    def __init__(self, url: str, key: str, model: str) -> None:
        client = AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
        self._model = OpenAIResponsesModel(model, client)

    async def text(self, prompt: str) -> str:
        """`run`."""
        return str((await Runner.run(self._agent(), prompt)).final_output)

    async def stream(self, prompt: str) -> list[str]:
        """`run_streamed`."""
        result = Runner.run_streamed(self._agent(), prompt)
        raw = [event.data async for event in result.stream_events() if event.type == "raw_response_event"]
        pieces = [data.delta for data in raw if data.type == "response.output_text.delta"]
        if result.final_output != "".join(pieces):
            raise AssertionError("the answer is not what was streamed")
        return pieces

    async def tools(self, prompt: str, tool: Weather, *, streamed: bool, goes_on: bool) -> str:
        """The SDK calls the tool."""
        agent = self._agent(tools=[function_tool(tool.weather)])
        if not streamed:
            return str((await Runner.run(agent, prompt, auto_previous_response_id=goes_on)).final_output)
        result = Runner.run_streamed(agent, prompt)
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    async def schema(self, prompt: str) -> Town:
        """`output_type`."""
        output = (await Runner.run(self._agent(output_type=Town), prompt)).final_output
        return Town.model_validate(output)

    def _agent(self, **fields: Any) -> Any:
        return Agent(name="Guide", instructions="Use the tool.", model=self._model, **fields)


if __name__ == "__main__":
    set_tracing_disabled(True)
    say_all(Agents)
