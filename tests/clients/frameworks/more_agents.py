"""More libraries with agents, each in an environment of its own or beside the others."""

from __future__ import annotations

from typing import Any

from tests.clients.frameworks.asking import MODEL, town, weather


class Adk:
    """Google's Agent Development Kit, by way of LiteLLM."""

    def __init__(self, url: str, key: str) -> None:
        from google.adk.models.lite_llm import LiteLlm

        self._model = LiteLlm(model=f"openai/{MODEL}", api_base=url + "/v1", api_key=key, num_retries=0)

    async def text(self, prompt: str) -> str:
        return _text((await self._events(prompt))[-1])

    async def stream(self, prompt: str) -> str:
        return "".join(_text(event) for event in await self._events(prompt, streams=True) if event.partial)

    async def tool(self, prompt: str) -> str:
        return _text((await self._events(prompt, tools=[weather]))[-1])

    async def form(self, prompt: str) -> Any:
        return town().model_validate_json(_text((await self._events(prompt, output_schema=town()))[-1])).model_dump()

    async def _events(self, prompt: str, *, streams: bool = False, **fields: Any) -> list[Any]:
        from google.adk.agents import LlmAgent
        from google.adk.agents.run_config import RunConfig, StreamingMode
        from google.adk.runners import InMemoryRunner
        from google.genai import types

        runner = InMemoryRunner(agent=LlmAgent(name="guide", model=self._model, **fields), app_name="here")
        session = await runner.session_service.create_session(app_name="here", user_id="someone")
        said = types.Content(role="user", parts=[types.Part(text=prompt)])
        config = RunConfig(streaming_mode=StreamingMode.SSE if streams else StreamingMode.NONE)
        run = runner.run_async(user_id="someone", session_id=session.id, new_message=said, run_config=config)
        return [event async for event in run]


def _text(event: Any) -> str:
    return "".join(part.text or "" for part in event.content.parts)


class Autogen:
    """AutoGen's client for OpenAI, and its agent."""

    def __init__(self, url: str, key: str) -> None:
        from autogen_ext.models.openai import OpenAIChatCompletionClient

        known: Any = dict.fromkeys(("function_calling", "json_output", "structured_output"), True)
        known |= {"vision": False, "family": "unknown"}
        self._client = OpenAIChatCompletionClient(model=MODEL, base_url=url + "/v1", api_key=key, model_info=known)

    async def text(self, prompt: str) -> str:
        return str((await self._client.create(self._messages(prompt))).content)

    async def stream(self, prompt: str) -> str:
        pieces = [piece async for piece in self._client.create_stream(self._messages(prompt))]
        return "".join(piece for piece in pieces if isinstance(piece, str))

    async def tool(self, prompt: str) -> str:
        from autogen_agentchat.agents import AssistantAgent

        agent = AssistantAgent("guide", model_client=self._client, tools=[weather], max_tool_iterations=5)
        return str((await agent.run(task=prompt)).messages[-1].content)

    async def form(self, prompt: str) -> Any:
        said = (await self._client.create(self._messages(prompt), json_output=town())).content
        return town().model_validate_json(said).model_dump()

    def _messages(self, prompt: str) -> Any:
        from autogen_core.models import UserMessage

        return [UserMessage(content=prompt, source="user")]


class BrowserUse:
    """The model of browser-use, without a browser: every step of its agent is an answer of a given form."""

    def __init__(self, url: str, key: str) -> None:
        from browser_use.llm import ChatOpenAI

        self._model = ChatOpenAI(model=MODEL, base_url=url + "/v1", api_key=key, max_retries=0)

    async def text(self, prompt: str) -> str:
        return str((await self._model.ainvoke(self._messages(prompt))).completion)

    async def form(self, prompt: str) -> Any:
        return (await self._model.ainvoke(self._messages(prompt), output_format=town())).completion.model_dump()

    def _messages(self, prompt: str) -> Any:
        from browser_use.llm.messages import UserMessage

        return [UserMessage(content=prompt)]


class CrewAi:
    """CrewAI's own client for OpenAI, and its agent."""

    def __init__(self, url: str, key: str) -> None:
        self._fields = {"model": f"openai/{MODEL}", "base_url": url + "/v1", "api_key": key}

    def text(self, prompt: str) -> str:
        return str(self._model().call(prompt))

    def stream(self, prompt: str) -> str:
        return str(self._model(stream=True).call(prompt))

    def tool(self, prompt: str) -> str:
        from crewai import Agent
        from crewai.tools import tool

        words = {"role": "Guide", "goal": "Answer", "backstory": "You know the weather."}
        return str(Agent(**words, llm=self._model(), tools=[tool("weather")(weather)]).kickoff(prompt).raw)

    def form(self, prompt: str) -> Any:
        return self._model().call(prompt, response_model=town()).model_dump()

    def _model(self, **fields: Any) -> Any:
        from crewai import LLM

        return LLM(**self._fields, **fields)


class InspectAi:
    """Inspect's models by way of `openai-api`."""

    def __init__(self, url: str, key: str) -> None:
        from inspect_ai.model import GenerateConfig, get_model

        config = GenerateConfig(max_retries=0)
        self._model = get_model(
            f"openai-api/here/{MODEL}", base_url=url + "/v1", api_key=key, config=config, memoize=False
        )

    async def text(self, prompt: str) -> str:
        return str((await self._model.generate(prompt)).completion)

    async def tool(self, prompt: str) -> str:
        from inspect_ai.tool import ToolDef

        async def asked(city: str) -> str:
            return weather(city)

        kit = ToolDef(asked, name="weather", description="The weather in a city.", parameters={"city": "Its name."})
        return str((await self._model.generate_loop(prompt, tools=[kit]))[1].completion)

    async def form(self, prompt: str) -> Any:
        from inspect_ai.model import GenerateConfig, ResponseSchema
        from inspect_ai.util import json_schema

        wanted = ResponseSchema(name="town", json_schema=json_schema(town()))
        said = await self._model.generate(prompt, config=GenerateConfig(response_schema=wanted))
        return town().model_validate_json(said.completion).model_dump()


class OpenHands:
    """The model of the OpenHands SDK, which asks by way of LiteLLM."""

    def __init__(self, url: str, key: str) -> None:
        self._fields = {"model": f"openai/{MODEL}", "base_url": url + "/v1", "api_key": key}

    def text(self, prompt: str) -> str:
        return str(self._model().completion(messages=self._messages(prompt)).message.content[0].text)

    def stream(self, prompt: str) -> str:
        chunks: list[Any] = []
        self._model(stream=True).completion(messages=self._messages(prompt), on_token=chunks.append)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    def _model(self, **fields: Any) -> Any:
        from openhands.sdk import LLM

        return LLM(**self._fields, usage_id="guide", num_retries=0, **fields)

    def _messages(self, prompt: str) -> Any:
        from openhands.sdk import Message, TextContent

        return [Message(role="user", content=[TextContent(text=prompt)])]
