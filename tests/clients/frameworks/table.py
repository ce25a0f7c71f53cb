"""Every library by the name of its row in the manual."""

from __future__ import annotations

from typing import Any

from tests.clients.frameworks import agents, chats, more_agents

CLASSES: dict[str, Any] = {
    "agent-framework": agents.AgentFramework,
    "agno": agents.Agno,
    "aisuite": chats.Aisuite,
    "any-llm": chats.AnyLlm,
    "autogen": more_agents.Autogen,
    "browser-use": more_agents.BrowserUse,
    "chatlas": chats.Chatlas,
    "crewai": more_agents.CrewAi,
    "dspy": chats.Dspy,
    "google-adk": more_agents.Adk,
    "guidance": chats.Guidance,
    "haystack": agents.Haystack,
    "huggingface-hub": chats.HuggingfaceHub,
    "inspect-ai": more_agents.InspectAi,
    "magentic": chats.Magentic,
    "mirascope": chats.Mirascope,
    "openhands-sdk": more_agents.OpenHands,
    "outlines": chats.Outlines,
    "semantic-kernel": agents.SemanticKernel,
    "smolagents": agents.Smolagents,
    "strands": agents.Strands,
}
