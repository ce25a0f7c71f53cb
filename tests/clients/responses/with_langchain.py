"""LangChain."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool as as_tool
from langchain_openai import ChatOpenAI

from tests.clients.responses.asking import Town, Weather, say_all


class LangChain:
    """`ChatOpenAI` with `use_responses_api`."""

    def __init__(self, url: str, key: str, model: str) -> None:
        self._fields = {"base_url": url + "/v1", "api_key": key, "model": model, "max_retries": 0}

    async def text(self, prompt: str) -> str:
        """`ainvoke`."""
        return str((await self._model().ainvoke(prompt)).text)

    async def stream(self, prompt: str) -> list[str]:
        """`astream`."""
        chunks = [chunk async for chunk in self._model().astream(prompt)]
        return [text for chunk in chunks if (text := str(chunk.text))]

    async def tools(self, prompt: str, tool: Weather, *, streamed: bool, goes_on: bool) -> str:
        """As its documentation does it: messages are put behind each other."""
        called = as_tool(tool.weather)
        model = self._model(use_previous_response_id=goes_on).bind_tools([called])
        messages: list[Any] = [HumanMessage(prompt)]
        while True:
            answer = await (_whole(model, messages) if streamed else model.ainvoke(messages))
            if not answer.tool_calls:
                return str(answer.text)
            messages += [answer, *[await called.ainvoke(call) for call in answer.tool_calls]]

    async def schema(self, prompt: str) -> Town:
        """`with_structured_output`."""
        model = self._model().with_structured_output(Town, method="json_schema")
        return Town.model_validate(await model.ainvoke(prompt))

    def _model(self, **fields: Any) -> Any:
        return ChatOpenAI(use_responses_api=True, **self._fields, **fields)


async def _whole(model: Any, messages: list[Any]) -> Any:
    whole = None
    async for chunk in model.astream(messages):
        whole = chunk if whole is None else whole + chunk
    return whole


if __name__ == "__main__":
    say_all(LangChain)
