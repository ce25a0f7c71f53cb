"""The vendors that a worker can call: the catalogue's upstreams for which it has credentials."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from arq.connections import ArqRedis

from shared.catalogue.apis import by_each_api
from shared.lanes import QueueName, provider_of
from shared.queue.upstreams import PublishedRow, try_now
from shared.secret_files import SecretEnvironment
from shared.settings import Settings, SettingsError
from shared.stores import redis_client
from shared.vendors import SECRETS
from workers.providers.loading import LoadedApis, load_upstreams
from workers.providers.protocol import Limits
from workers.vendor_keys import VendorKeys, tell_of_missing

if TYPE_CHECKING:
    from shared.catalogue.models import Catalogue, Model
    from shared.catalogue.upstreams import Upstream, Upstreams


@dataclass(frozen=True)
class Announcement:
    """The part of the heartbeat that says what the worker can call."""

    services: tuple[str, ...]
    """Names of services (a provider, or a provider's own address) of which the worker can call at least one model."""
    upstreams: dict[str, str]
    """Fingerprints of the upstreams' rows, by name: workers whose rows differ are warned about."""
    providers: dict[str, str]
    """The provider of each upstream: only workers of that provider's queues need its credentials."""
    unserved: tuple[str, ...]
    """Places of models that the worker cannot call although it can call other models of the same service."""


@dataclass(frozen=True, kw_only=True)
class Vendors:
    """The upstreams, adapters and keys of a worker. They are loaded once at the start; only `held`
    changes, with the keys.
    """

    models: Sequence[Model]
    upstreams: Upstreams
    held: LoadedApis
    environment: SecretEnvironment
    keys: VendorKeys

    @classmethod
    def load(cls, settings: Settings, catalogue: Catalogue, redis: ArqRedis) -> Vendors:
        """Load the adapters of the vendors of the settings' queues. Raises `SettingsError` if a secret file is unreadable."""
        models = list(by_each_api(catalogue))
        rows = catalogue.upstreams.of_all(models)
        environment = _environment(rows)
        load = partial(_load, settings, rows)
        held = load(environment)
        tell_of_missing(rows, catalogue.upstreams, _providers(settings), held)
        keys = VendorKeys(
            held,
            environment,
            rows,
            load,
            look_every_s=settings.secrets_look_every_s,
            calls_end_after_s=settings.deadline_max_s,
            on_changed=partial(_try_now, redis),
        )
        return cls(models=models, upstreams=catalogue.upstreams, held=held, environment=environment, keys=keys)

    @property
    def rows(self) -> Sequence[Upstream]:
        """The upstreams of all models."""
        return self.upstreams.of_all(self.models)

    def offer(self) -> Announcement:
        """The services and upstreams that the worker can call now; those without credentials are left out."""
        served = {one.place: one.service for one in self.models if self.held.can_call(one, self.upstreams.of(one))}
        services = tuple(sorted(set(served.values())))
        unserved = tuple(one.place for one in self.models if one.service in services and one.place not in served)
        rows = [one for one in self.rows if one.name in self.held]
        fingerprints = {one.name: one.fingerprint for one in rows}
        return Announcement(services, fingerprints, {one.name: one.provider for one in rows}, unserved)

    def queues_of(self, settings: Settings) -> tuple[QueueName, ...]:
        """The queues of the settings whose provider this process can call; other workers serve the rest."""
        services = self.offer().services
        callable_here = {model.provider for model in self.models if model.service in services}
        return tuple(queue for queue in settings.worker_queues if provider_of(queue) in callable_here)

    def published_rows(self) -> list[PublishedRow]:
        """The rows of the upstreams, as operators are shown them."""
        served: dict[str, list[str]] = {}
        for model in self.models:
            for one in self.upstreams.of(model):
                if model.api in self.held.get(one.name, ()):
                    served.setdefault(one.name, []).append(model.name)
        providers = {one.name: one.provider for one in self.rows}
        return [PublishedRow(name, providers[name], tuple(dict.fromkeys(names))) for name, names in served.items()]


def _environment(upstreams: Sequence[Upstream]) -> SecretEnvironment:
    """The environment variables together with the secrets of vendors and upstreams that are in files."""
    named = (upstream.key_variable for upstream in upstreams if upstream.key_variable)
    try:
        return SecretEnvironment(os.environ, dict.fromkeys((*SECRETS, *named)))
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _load(settings: Settings, upstreams: Sequence[Upstream], environment: Mapping[str, str]) -> LoadedApis:
    limits = Limits(
        connections=settings.worker_slots,
        connect_s=settings.connect_timeout_s,
        read_s=settings.deadline_max_s,
        coalesce_s=settings.coalesce_s,
    )
    return load_upstreams(upstreams, _providers(settings), environment, limits)


def _providers(settings: Settings) -> set[str]:
    return {provider_of(queue) for queue in settings.worker_queues}


async def _try_now(redis: ArqRedis, upstream: str) -> None:
    """The key of this upstream has changed: tell its breaker to let a call through at once. If Redis cannot be reached, the
    breaker waits as before.
    """
    with contextlib.suppress(*redis_client.UNREACHABLE):
        await try_now(redis, upstream)
