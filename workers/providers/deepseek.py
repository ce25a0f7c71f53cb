"""DeepSeek: OpenAI's protocol at another address, by the `openai` SDK.

DeepSeek's additions are read in `openai/chat.py`, because other vendors of that protocol have the same ones: the
thoughts as text (`reasoning_content`, not part of the answer), cached tokens beside the prompt's
(`prompt_cache_hit_tokens`), and the finish reason `insufficient_system_resource`, which is a failure. Under load
DeepSeek answers 200 at once and keeps the connection alive with comments or blank lines. Fields of a request that it
does not know, or that it needs in addition, are in `openai/request.py`. Wire format: api-docs.deepseek.com (read
2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping

from workers.providers.openai.calls import OpenAIApi
from workers.providers.openai.chat import completions
from workers.providers.openai.clients import Clients
from workers.providers.protocol import Limits

BASE_URL = "https://api.deepseek.com"


def create(environment: Mapping[str, str], limits: Limits) -> OpenAIApi:
    """The provider, with the key in `DEEPSEEK_API_KEY`."""
    base_url = environment.get("DEEPSEEK_BASE_URL") or BASE_URL
    return completions(Clients(environment["DEEPSEEK_API_KEY"], base_url, limits), limits)
