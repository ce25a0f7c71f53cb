"""Creates the providers that this process has credentials for, one set per upstream."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping

from shared.catalogue.models import Model
from shared.catalogue.upstreams import Upstream
from shared.vendors import VENDORS
from workers.providers.credentials import environment_of, has_credentials
from workers.providers.protocol import Limits, Provider

FILES = {
    "openai-chat": "openai.chat",
    "openai-responses": "openai.responses",
    "openai-realtime": "openai.realtime",
    "deepseek-chat": "deepseek",
    "bedrock-converse": "bedrock.bedrock",
    "bedrock-invoke": "bedrock.bedrock",
    "gemini": "gemini.gemini",
}
"""The file of each API."""
Apis = Mapping[str, Provider]
"""A provider by the names of its APIs."""


class LoadedApis(dict[str, Apis]):
    """The APIs that this process can call at each upstream, by the upstream's name."""

    def can_call(self, model: Model, upstreams: Iterable[Upstream]) -> bool:
        """True if one of the model's `upstreams` can be called by the model's API."""
        return any(model.api in self.get(upstream.name, ()) for upstream in upstreams)

    def replace(self, new: LoadedApis) -> LoadedApis:
        """Take over what `new` holds, and return what was held before, to be closed."""
        before = LoadedApis(self)
        self.clear()
        self.update(new)
        return before

    async def close(self) -> None:
        """Close everything; closing twice does no harm."""
        for apis in self.values():
            for provider in apis.values():
                await provider.close()


def load_upstreams(
    upstreams: Iterable[Upstream], providers: set[str], environment: Mapping[str, str], limits: Limits
) -> LoadedApis:
    """The upstreams of `providers` that have credentials in `environment`; no other vendor's SDK is imported. Upstreams
    that differ only in region share their provider. Raises `SettingsError` for a key file that cannot be read.
    """
    held, made = LoadedApis(), dict[tuple[object, ...], Apis]()
    for upstream in upstreams:
        if upstream.provider not in providers:
            continue
        own = environment_of(upstream, environment)
        if own is None:
            continue
        place = (upstream.provider, tuple(sorted(own.items())))
        if place not in made:
            made[place] = load_apis(upstream.provider, own, limits)
        apis = {api: one for api, one in made[place].items() if upstream.api in {None, api}}
        if apis:
            held[upstream.name] = apis
    return held


def load_apis(provider: str, environment: Mapping[str, str], limits: Limits) -> Apis:
    """All APIs of a provider; none if `environment` lacks credentials for it."""
    if not has_credentials(provider, environment):
        return {}
    apis = VENDORS[provider].apis
    created = {file: _create(file, environment, limits) for file in dict.fromkeys(FILES[api] for api in apis)}
    return {api: made for api in apis if (made := created[FILES[api]]) is not None}


def _create(file: str, environment: Mapping[str, str], limits: Limits) -> Provider | None:
    made: Provider | None = importlib.import_module(f"workers.providers.{file}").create(environment, limits)
    return made
