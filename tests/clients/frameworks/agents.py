"""Libraries with agents, which call the tools themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.clients.frameworks.asking import MODEL, town, weather


class AgentFramework:
    """Microsoft's Agent Framework, over the Responses API."""

    def __init__(self, url: str, key: str) -> None:
        from agent_framework.openai import OpenAIChatClient

        self._client = OpenAIChatClient(model=MODEL, base_url=url + "/v1", api_key=key)

    async def text(self, prompt: str) -> str:
        return str((await self._agent().run(prompt)).text)

    async def stream(self, prompt: str) -> str:
        stream = self._agent().run(prompt, stream=True)
        async for _ in stream:
            pass
        return str((await stream.get_final_response()).text)  # an update may say again what others have said

    async def tool(self, prompt: str) -> str:
        return str((await self._agent(tools=[weather]).run(prompt)).text)

    async def form(self, prompt: str) -> Any:
        answer = await self._agent().run(prompt, options={"response_format": town()})
        return answer.value.model_dump()

    def _agent(self, **fields: Any) -> Any:
        from agent_framework import Agent

        return Agent(client=self._client, **fields)


class Agno:
    """Agno's `OpenAILike`."""

    def __init__(self, url: str, key: str) -> None:
        from agno.models.openai.like import OpenAILike

        self._model = OpenAILike(id=MODEL, base_url=url + "/v1", api_key=key)

    def text(self, prompt: str) -> str:
        return str(self._agent().run(prompt).content)

    def stream(self, prompt: str) -> str:
        return "".join(event.content or "" for event in self._agent().run(prompt, stream=True))

    def tool(self, prompt: str) -> str:
        return str(self._agent(tools=[weather]).run(prompt).content)

    def form(self, prompt: str) -> Any:
        return self._agent(output_schema=town()).run(prompt).content.model_dump()

    def _agent(self, **fields: Any) -> Any:
        from agno.agent import Agent

        return Agent(model=self._model, telemetry=False, **fields)


class Haystack:
    """Haystack's chat generator and agent."""

    def __init__(self, url: str, key: str) -> None:
        from haystack.components.generators.chat import OpenAIChatGenerator
        from haystack.utils import Secret

        self._make: Callable[..., Any] = lambda **fields: OpenAIChatGenerator(
            model=MODEL, api_base_url=url + "/v1", api_key=Secret.from_token(key), max_retries=0, **fields
        )

    def text(self, prompt: str) -> str:
        return str(self._make().run(self._messages(prompt))["replies"][0].text)

    def stream(self, prompt: str) -> str:
        pieces: list[str] = []
        self._make(streaming_callback=lambda chunk: pieces.append(chunk.content)).run(self._messages(prompt))
        return "".join(pieces)

    def tool(self, prompt: str) -> str:
        from haystack.components.agents import Agent
        from haystack.tools import create_tool_from_function

        agent = Agent(chat_generator=self._make(), tools=[create_tool_from_function(weather)])
        return str(agent.run(messages=self._messages(prompt))["messages"][-1].text)

    def form(self, prompt: str) -> Any:
        generator = self._make(generation_kwargs={"response_format": town()})
        return json.loads(generator.run(self._messages(prompt))["replies"][0].text)

    def _messages(self, prompt: str) -> Any:
        from haystack.dataclasses import ChatMessage

        return [ChatMessage.from_user(prompt)]


class SemanticKernel:
    """Semantic Kernel's agent."""

    def __init__(self, url: str, key: str) -> None:
        from openai import AsyncOpenAI
        from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion

        client = AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
        self._service = OpenAIChatCompletion(ai_model_id=MODEL, async_client=client)

    async def text(self, prompt: str) -> str:
        return str((await self._agent().get_response(messages=prompt)).message.content)

    async def stream(self, prompt: str) -> str:
        return "".join([str(piece.message.content) async for piece in self._agent().invoke_stream(messages=prompt)])

    async def tool(self, prompt: str) -> str:
        from semantic_kernel.functions import kernel_function

        class Plugin:
            @kernel_function(name="weather")  # type: ignore[untyped-decorator]
            def weather(self, city: str) -> str:
                return weather(city)

        agent = self._agent(plugins=[Plugin()])
        return str((await agent.get_response(messages=prompt)).message.content)

    def _agent(self, **fields: Any) -> Any:
        from semantic_kernel.agents import ChatCompletionAgent

        return ChatCompletionAgent(service=self._service, name="Guide", **fields)


class Smolagents:
    """smolagents' model, and an agent that calls tools."""

    def __init__(self, url: str, key: str) -> None:
        from smolagents import OpenAIModel

        self._model = OpenAIModel(model_id=MODEL, api_base=url + "/v1", api_key=key)

    def text(self, prompt: str) -> str:
        return str(self._model.generate(self._messages(prompt)).content)

    def stream(self, prompt: str) -> str:
        return "".join(delta.content or "" for delta in self._model.generate_stream(self._messages(prompt)))

    def tool(self, prompt: str) -> str:
        from smolagents import ToolCallingAgent, tool

        return str(ToolCallingAgent(tools=[tool(weather)], model=self._model, verbosity_level=0).run(prompt))

    def _messages(self, prompt: str) -> Any:
        return [{"role": "user", "content": [{"type": "text", "text": prompt}]}]


class Strands:
    """Strands with its OpenAI model."""

    def __init__(self, url: str, key: str) -> None:
        from strands.models.openai import OpenAIModel

        self._model = OpenAIModel(client_args={"base_url": url + "/v1", "api_key": key}, model_id=MODEL)

    def text(self, prompt: str) -> str:
        return str(self._agent()(prompt)).removesuffix("\n")

    async def stream(self, prompt: str) -> str:
        return "".join([event.get("data", "") async for event in self._agent().stream_async(prompt)])

    def tool(self, prompt: str) -> str:
        from strands import tool

        return str(self._agent(tools=[tool(weather)])(prompt)).removesuffix("\n")

    def form(self, prompt: str) -> Any:
        return self._agent()(prompt, structured_output_model=town()).structured_output.model_dump()

    def _agent(self, **fields: Any) -> Any:
        from strands import Agent

        return Agent(model=self._model, callback_handler=None, **fields)
