"""Libraries that ask a model; most of them leave the calls of tools to the program."""

from __future__ import annotations

import json
from typing import Any

from tests.clients.frameworks.asking import MODEL, WEATHER, loop, town, weather


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
        return loop(lambda messages: self._ask(messages, tools=[weather]).choices[0].message, prompt)

    def form(self, prompt: str) -> Any:
        return (
            town()
            .model_validate_json(self._ask(prompt, response_format=town()).choices[0].message.content)
            .model_dump()
        )

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

    def form(self, prompt: str) -> Any:
        return self._chat.chat_structured(prompt, data_model=town()).model_dump()


class Dspy:
    """DSPy's `LM`; its agents write their calls as text, which the simulated models cannot."""

    def __init__(self, url: str, key: str) -> None:
        import dspy

        self._lm = dspy.LM(f"openai/{MODEL}", api_base=url + "/v1", api_key=key, cache=False, num_retries=0)

    def text(self, prompt: str) -> str:
        said = self._lm(prompt)[0]
        return str(said if isinstance(said, str) else said["text"])


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
        return loop(lambda messages: self._ask(messages, tools=[WEATHER]).choices[0].message, prompt)

    def form(self, prompt: str) -> Any:
        wanted = {"type": "json_schema", "json_schema": {"name": "town", "schema": town().model_json_schema()}}
        said = self._ask([{"role": "user", "content": prompt}], response_format=wanted)
        return json.loads(said.choices[0].message.content)

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

    def form(self, prompt: str) -> Any:
        return self._model.call(prompt, format=town()).parse().model_dump()


class Aisuite:
    """aisuite, which calls tools by itself."""

    def __init__(self, url: str, key: str) -> None:
        import aisuite

        self._client = aisuite.Client({"openai": {"base_url": url + "/v1", "api_key": key}})

    def text(self, prompt: str) -> str:
        return str(self._ask(prompt).choices[0].message.content)

    def stream(self, prompt: str) -> str:
        return "".join(
            chunk.choices[0].delta.content or "" for chunk in self._ask(prompt, stream=True) if chunk.choices
        )

    def tool(self, prompt: str) -> str:
        return str(self._ask(prompt, tools=[weather], max_turns=5).choices[0].message.content)

    def _ask(self, prompt: str, **fields: Any) -> Any:
        said = [{"role": "user", "content": prompt}]
        return self._client.chat.completions.create(model=f"openai:{MODEL}", messages=said, **fields)


class Guidance:
    """guidance, which asks for `logprobs` and does without them."""

    def __init__(self, url: str, key: str) -> None:
        from guidance import models

        self._model = models.OpenAI(MODEL, base_url=url + "/v1", api_key=key, echo=False)

    def text(self, prompt: str) -> str:
        from guidance import assistant, gen, user

        talk = self._model
        with user():
            talk += prompt
        with assistant():
            talk += gen("answer")
        return str(talk["answer"])


class Magentic:
    """magentic's `Chat`."""

    def __init__(self, url: str, key: str) -> None:
        from magentic import OpenaiChatModel

        self._model = OpenaiChatModel(MODEL, base_url=url + "/v1", api_key=key)

    def text(self, prompt: str) -> str:
        return str(self._said(prompt, str))

    def stream(self, prompt: str) -> str:
        from magentic import StreamedStr

        return "".join(self._said(prompt, StreamedStr))

    def tool(self, prompt: str) -> str:
        from magentic import Chat, ParallelFunctionCall, UserMessage

        kinds: Any = [str, ParallelFunctionCall]
        chat = Chat([UserMessage(prompt)], model=self._model, functions=[weather], output_types=kinds).submit()
        while not isinstance(chat.last_message.content, str):
            chat = chat.exec_function_call().submit()
        return str(chat.last_message.content)

    def form(self, prompt: str) -> Any:
        return self._said(prompt, town()).model_dump()

    def _said(self, prompt: str, kind: Any) -> Any:
        from magentic import Chat, UserMessage

        return Chat([UserMessage(prompt)], model=self._model, output_types=[kind]).submit().last_message.content


class Outlines:
    """Outlines with OpenAI's client."""

    def __init__(self, url: str, key: str) -> None:
        import outlines
        from openai import OpenAI

        self._model = outlines.from_openai(OpenAI(base_url=url + "/v1", api_key=key, max_retries=0), MODEL)

    def text(self, prompt: str) -> str:
        return str(self._model(prompt))

    def stream(self, prompt: str) -> str:
        return "".join(self._model.stream(prompt))

    def form(self, prompt: str) -> Any:
        return town().model_validate_json(self._model(prompt, town())).model_dump()
