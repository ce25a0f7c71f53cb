"""Loads the providers that this process has credentials for."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping

from shared.catalogue.models import Model
from workers.providers.credentials import has_credentials
from workers.providers.protocol import Limits, Provider

FILES = {
    "openai-chat": ("openai", "openai.chat"),
    "openai-responses": ("openai", "openai.responses"),
    "openai-realtime": ("openai", "openai.realtime"),
    "deepseek-chat": ("deepseek", "deepseek"),
    "bedrock-converse": ("bedrock", "bedrock.bedrock"),
    "bedrock-invoke": ("bedrock", "bedrock.bedrock"),
    "gemini": ("gemini", "gemini.gemini"),
}
"""The provider and the file of each API. A row of the catalogue whose API is not here is listed as not available."""


def load_providers(
    providers: set[str], environment: Mapping[str, str], limits: Limits, models: Iterable[Model] = ()
) -> dict[str, Provider]:
    """The APIs of `providers` that have credentials in `environment`, by API name; imports no other vendor's SDK.

    Credentials are the provider's own, or those that one of `models` names for itself.
    """
    named = {FILES[model.api][1] for model in models if model.api in FILES and _has_own_key(model, environment)}
    served = {file: provider for provider, file in FILES.values() if provider in providers}
    created = {
        file: _create(file, environment, limits)
        for file, provider in served.items()
        if file in named or has_credentials(provider, environment)
    }
    return {api: made for api, (_, file) in FILES.items() if (made := created.get(file)) is not None}


def can_call(model: Model, loaded: Mapping[str, Provider], environment: Mapping[str, str]) -> bool:
    """True if this process has the code and the credentials for `model`."""
    if model.api not in loaded:
        return False
    return _has_own_key(model, environment) if model.key_variable else has_credentials(model.provider, environment)


def _has_own_key(model: Model, environment: Mapping[str, str]) -> bool:
    return bool(model.key_variable and environment.get(model.key_variable))


def _create(file: str, environment: Mapping[str, str], limits: Limits) -> Provider | None:
    made: Provider | None = importlib.import_module(f"workers.providers.{file}").create(environment, limits)
    return made
