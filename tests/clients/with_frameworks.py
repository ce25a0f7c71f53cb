"""Libraries that share one environment, each asked for an answer, a stream and the use of a tool, and asked with a wrong key.

`python -m tests.clients.with_frameworks NAME` reads `BASE_URL`, `API_KEY`, `TEXT_PROMPT` and `TOOL_PROMPT`, and prints one
object of JSON: what came of each way, by its name. A way that a library does not have is left out.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any

MODEL = "openai-gpt-4o-mini"
WRONG_KEY = "rml_wrong"
CITIES: list[str] = []


def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Its name.
    """
    CITIES.append(city)
    return f"It is sunny in {city}."


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

    def _agent(self, **fields: Any) -> Any:
        from agno.agent import Agent

        return Agent(model=self._model, telemetry=False, **fields)


class AnyLlm:
    """Mozilla's any-llm."""

    def __init__(self, url: str, key: str) -> None:
        self._fields = {"model": MODEL, "provider": "openai", "api_base": url + "/v1", "api_key": key}

    def text(self, prompt: str) -> str:
        return str(self._ask(prompt).choices[0].message.content)

    def stream(self, prompt: str) -> str:
        chunks = [chunk for chunk in self._ask(prompt, stream=True) if chunk.choices]
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    def tool(self, prompt: str) -> str:
        return _loop(lambda messages: self._ask(messages, tools=[weather]).choices[0].message, prompt)

    def _ask(self, prompt: Any, **fields: Any) -> Any:
        from any_llm import completion

        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return completion(messages=messages, **self._fields, **fields)


class Chatlas:
    """chatlas over `/v1/responses`, as it comes."""

    def __init__(self, url: str, key: str) -> None:
        from chatlas import ChatOpenAI

        self._chat = ChatOpenAI(model=MODEL, base_url=url + "/v1", api_key=key)

    def text(self, prompt: str) -> str:
        return str(self._chat.chat(prompt, stream=False, echo="none"))

    def stream(self, prompt: str) -> str:
        return "".join(self._chat.stream(prompt))

    def tool(self, prompt: str) -> str:
        self._chat.register_tool(weather)
        self._chat.chat(prompt, echo="none")
        return str(self._chat.get_last_turn().text)


class Dspy:
    """DSPy's `LM`; its agents write their calls as text, which the simulated models cannot."""

    def __init__(self, url: str, key: str) -> None:
        import dspy

        self._lm = dspy.LM(f"openai/{MODEL}", api_base=url + "/v1", api_key=key, cache=False, num_retries=0)

    def text(self, prompt: str) -> str:
        said = self._lm(prompt)[0]
        return str(said if isinstance(said, str) else said["text"])


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

    def _messages(self, prompt: str) -> Any:
        from haystack.dataclasses import ChatMessage

        return [ChatMessage.from_user(prompt)]


class HuggingfaceHub:
    """Hugging Face's `InferenceClient`."""

    def __init__(self, url: str, key: str) -> None:
        from huggingface_hub import InferenceClient

        self._client = InferenceClient(base_url=url + "/v1", api_key=key)

    def text(self, prompt: str) -> str:
        return str(self._ask([{"role": "user", "content": prompt}]).choices[0].message.content)

    def stream(self, prompt: str) -> str:
        chunks = self._ask([{"role": "user", "content": prompt}], stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    def tool(self, prompt: str) -> str:
        return _loop(lambda messages: self._ask(messages, tools=[WEATHER]).choices[0].message, prompt)

    def _ask(self, messages: Any, **fields: Any) -> Any:
        return self._client.chat.completions.create(model=MODEL, messages=messages, max_tokens=500, **fields)


class Mirascope:
    """Mirascope with a provider of its own for this service."""

    def __init__(self, url: str, key: str) -> None:
        from mirascope import llm

        llm.register_provider("openai:completions", scope="openai/", base_url=url + "/v1", api_key=key)
        self._model = llm.Model(f"openai/{MODEL}")

    def text(self, prompt: str) -> str:
        return str(self._model.call(prompt).text())

    def stream(self, prompt: str) -> str:
        return "".join(self._model.stream(prompt).text_stream()).removesuffix("\n")

    def tool(self, prompt: str) -> str:
        from mirascope import llm

        answer = self._model.call(prompt, tools=[llm.tool(weather)])
        while answer.tool_calls:
            answer = answer.resume(answer.execute_tools())
        return str(answer.text())


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

    def _agent(self, **fields: Any) -> Any:
        from strands import Agent

        return Agent(model=self._model, callback_handler=None, **fields)


CLASSES = {
    "agent-framework": AgentFramework,
    "agno": Agno,
    "any-llm": AnyLlm,
    "chatlas": Chatlas,
    "dspy": Dspy,
    "haystack": Haystack,
    "huggingface-hub": HuggingfaceHub,
    "mirascope": Mirascope,
    "semantic-kernel": SemanticKernel,
    "smolagents": Smolagents,
    "strands": Strands,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def _loop(ask: Callable[[list[Any]], Any], prompt: str) -> str:
    """What a program does whose library leaves the calls to it."""
    messages: list[Any] = [{"role": "user", "content": prompt}]
    while calls := (answer := ask(messages)).tool_calls:
        asked = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in calls
        ]
        messages.append({"role": "assistant", "content": answer.content, "tool_calls": asked})
        for call in calls:
            said = weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": said})
    return str(answer.content)


async def _said(library: Any, way: str, prompt: str) -> Any:
    ask = getattr(library, way)
    return await (ask(prompt) if inspect.iscoroutinefunction(ask) else asyncio.to_thread(ask, prompt))


async def main(name: str) -> None:
    """Ask in every way that the library has."""
    make, url = CLASSES[name], os.environ["BASE_URL"]
    row: dict[str, Any] = {}
    for way, prompt in (("text", "TEXT_PROMPT"), ("stream", "TEXT_PROMPT"), ("tool", "TOOL_PROMPT")):
        if hasattr(make, way):
            row[way] = await _said(make(url, os.environ["API_KEY"]), way, os.environ[prompt])
    row["cities"] = sorted(CITIES)
    try:
        row["wrong key"] = f"answered: {await _said(make(url, WRONG_KEY), 'text', 'Hello!')}"
    except Exception as error:  # noqa: BLE001 - what a library raises is what is asked for
        row["wrong key"] = f"raised: {type(error).__name__}: {error}"
    sys.stdout.write(f"\n{json.dumps(row)}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
