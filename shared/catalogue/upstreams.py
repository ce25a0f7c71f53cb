"""Upstreams: the places where a model can be called. An upstream is one key of a vendor at one address or in one
region.

An operator's overlay lists them in `[[upstream]]` tables. A provider without such a table has one upstream, its usual
key at its usual address. A model's row with a `key_variable` or a `region` is an upstream of its own.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec

from shared.catalogue.row_errors import row_error
from shared.catalogue.rows import KEY_VARIABLE, check_api
from shared.catalogue.written import Written, check_address
from shared.lanes import ServiceTier
from shared.money import FACTOR_WORDS, is_factor
from shared.patterns import told_as
from shared.vendors import PROVIDERS, VENDORS, ProviderName

if TYPE_CHECKING:
    from shared.catalogue.models import Model
    from shared.catalogue.names import Names

NAME = told_as(
    "up to 64 small letters, digits, `.` and `-`, and begins with a letter or a digit", r"^[a-z0-9][a-z0-9.\-]{0,63}\Z"
)
REGION = told_as("a region of AWS, such as eu-central-1", r"^[a-z0-9\-]{1,40}\Z")
REGIONAL = "bedrock"
"""The provider with regions. Its usual credentials may be used at any address, because AWS signs calls and sends no key."""

USUAL_PORTS = {"http": ":80", "https": ":443"}


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the overlay; `FIELDS.md` explains its fields. `models` and the keys of `model_ids` are public names once
    the row is parsed. Without `models` the row serves all models of its provider that name no key of their own.
    """

    name: Annotated[str, msgspec.Meta(pattern=NAME)]
    provider: ProviderName
    api: str | None = None
    key_variable: Annotated[str, msgspec.Meta(pattern=KEY_VARIABLE)] | None = None
    key_file: str | None = None
    region: Annotated[str, msgspec.Meta(pattern=REGION)] | None = None
    base_url: str | None = None
    models: tuple[str, ...] = ()
    model_ids: dict[str, Annotated[str, msgspec.Meta(min_length=1)]] = {}
    cost_factor: Decimal = Decimal(1)
    weight: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    priority: Annotated[int, msgspec.Meta(ge=-1_000, le=1_000)] = 0

    @property
    def fingerprint(self) -> str:
        """A hash of everything in the row, which contains no secret: workers with different rows have different
        fingerprints.
        """
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:12]

    def serves(self, model: Model) -> bool:
        """True if the row serves `model` by the API that `model` has."""
        if self.provider != model.provider or self.api not in {None, model.api}:
            return False
        if self.models:
            return model.name in self.models
        return model.key_variable is None and (self.region is None or model.region in {None, self.region})

    def called(self, model: Model) -> Model:
        """`model` with the id and the address that this upstream has for it."""
        vendor_model, region = self.model_ids.get(model.name, model.vendor_model), self.region or model.region
        if (vendor_model, region) == (model.vendor_model, model.region):
            return model
        return msgspec.structs.replace(model, vendor_model=vendor_model, region=region)


class Upstreams:
    """The upstreams of a catalogue; `rows` are those of the overlay."""

    def __init__(self, rows: tuple[Upstream, ...] = ()) -> None:
        self.rows = rows
        self._found: dict[tuple[str | None, ...], tuple[Upstream, ...]] = {}

    def of(self, model: Model) -> tuple[Upstream, ...]:
        """The upstreams that can call `model` by its API; empty if no row of its provider serves it. The model may come
        from another process's catalogue.
        """
        place = (model.name, model.provider, model.api, model.region, model.base_url, model.key_variable)
        if place not in self._found:
            self._found[place] = self._search(model)
        return self._found[place]

    def of_all(self, models: Iterable[Model]) -> tuple[Upstream, ...]:
        """The upstreams of all `models`, each once."""
        return tuple({one.name: one for model in models for one in self.of(model)}.values())

    def _search(self, model: Model) -> tuple[Upstream, ...]:
        rows = tuple(row for row in self.rows if row.serves(model))
        if model.key_variable:
            return (_stood_for(model), *rows)
        has_rows = any(row.provider == model.provider for row in self.rows)
        return rows if has_rows else (_stood_for(model),)


def pace_name(upstream: str, model: str, tier: ServiceTier) -> str:
    """The name under which the pace (the number of calls at once) of a model at an upstream and a tier is kept."""
    return f"{upstream}/{model}:{tier}" if tier == "flex" else f"{upstream}/{model}"


def _stood_for(model: Model) -> Upstream:
    """The upstream that a model's own row describes."""
    name: str = model.provider
    if model.key_variable:
        name = model.key_variable.lower().replace("_", "-")
        name += f"@{_host_of(model.base_url)}" if model.base_url else ""
    elif model.region and model.provider == REGIONAL:
        name += f"@{model.region}"
    return Upstream(
        name=name,
        provider=model.provider,  # type: ignore[arg-type] # the row was checked
        key_variable=model.key_variable,
        base_url=model.base_url,
        region=model.region if model.provider == REGIONAL else None,
    )


def _host_of(url: str) -> str:
    """The host and path of an address, without user and password, in the one form that all spellings of it have."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(USUAL_PORTS[parts.scheme]).removesuffix(".")
    return f"{host}/{_path_of(parts.path)}".rstrip("/")


def _path_of(path: str) -> str:
    """The path from the root, without the first `/`, in the one form that all spellings of it have."""
    return posixpath.normpath(f"/{path}").lstrip("/")


def parse_upstreams(tables: Mapping[str, Written], models: Mapping[str, Model], names: Names) -> Upstreams:
    """Parse the rows of an overlay; `models` are known by their public names. Raises `SettingsError` with line, row and
    reason.
    """
    rows: list[Upstream] = []
    taken = {_stood_for(model).name: model.name for model in models.values() if model.key_variable}
    for table in tables.values():
        row = _parsed(table, models, names)
        if row.name in taken:
            raise table.error(
                f"`name` is that of the upstream which model {taken[row.name]!r} has by its own `key_variable`: take another"
                " one, else one of them would be called with the other's key"
            )
        owns = (_stood_for(model) for model in models.values() if model.key_variable and row.serves(model))
        if twin := next((other for other in (*owns, *rows) if _is_same_key(row, other)), None):
            raise table.error(
                f"`key_variable`, `key_file`, `base_url` and `region` are those of upstream {twin.name!r}, and models, too:"
                " one key is one upstream, else its limits would be taken for twice as much"
            )
        rows.append(row)
    return Upstreams(tuple(rows))


def _is_same_key(row: Upstream, other: Upstream) -> bool:
    """True if both rows call some model with the same key at the same place."""
    places = [(one.provider, _key(one), _place(one.base_url), one.region) for one in (row, other)]
    apis = row.api is None or other.api is None or row.api == other.api
    models = not row.models or not other.models or not set(row.models).isdisjoint(other.models)
    return places[0] == places[1] and apis and models


def _place(address: str | None) -> tuple[str, str, str] | None:
    """The scheme, user and host with path of an address, in one form for all its spellings; None for the vendor's own."""
    if address is None:
        return None
    parts = urlsplit(address)
    return parts.scheme, parts.netloc.rpartition("@")[0], _host_of(address)


def _key(row: Upstream) -> str:
    """The place of the row's key: its file, its variable, or the vendor's usual variable."""
    if row.key_file:
        return f"/{_path_of(os.path.abspath(row.key_file))}"  # noqa: PTH100 - links are not followed: front doors lack the file
    return row.key_variable or VENDORS[row.provider].key


def _parsed(table: Written, models: Mapping[str, Model], names: Names) -> Upstream:
    try:
        row = msgspec.convert(table.fields, Upstream)
        _check_provider(row)
        _check_key(row)
        check_address(row.base_url)
        _check_given(table.fields)
        return _with_public_names(row, models, names)
    except msgspec.ValidationError as error:
        raise table.error(row_error(error, Upstream)) from None
    except ValueError as error:
        raise table.error(str(error)) from None


def _check_given(fields: Mapping[str, object]) -> None:
    """Refuse a field that is given and empty. It would mean the same as a missing one, which is hardly intended."""
    if fields.get("models") == []:
        raise ValueError("`models` is empty: leave it out for all models of the provider")
    if fields.get("key_file") == "":
        raise ValueError("`key_file` is empty: name the file, or leave it out for the vendor's usual key")


def _with_public_names(row: Upstream, models: Mapping[str, Model], names: Names) -> Upstream:
    listed = tuple(_known(row, "models", name, models, names) for name in row.models)
    if len(set(listed)) < len(listed):
        raise ValueError("`models` has two names of one model: give each model once")
    ids = {_known(row, "model_ids", name, models, names): upstream for name, upstream in row.model_ids.items()}
    if len(ids) < len(row.model_ids):
        raise ValueError("`model_ids` has two ids for one model: give one, under its name or an alias of it")
    return msgspec.structs.replace(row, models=listed, model_ids=_of_listed(ids, listed))


def _check_provider(row: Upstream) -> None:
    check_api("api", row.api, row.provider)
    if row.region and row.provider != REGIONAL:
        raise ValueError(f"`region` goes with provider {REGIONAL} only: another one's region is a `base_url`")
    if row.name in PROVIDERS and row.name != row.provider:
        raise ValueError(f"`name` is another provider's: take one that is not {', '.join(PROVIDERS)}")
    if not is_factor(row.cost_factor):
        raise ValueError(f"`cost_factor` {row.cost_factor} is wrong: it takes {FACTOR_WORDS}")


def _check_key(row: Upstream) -> None:
    if row.key_variable and row.key_file:
        raise ValueError("`key_file` and `key_variable` exclude each other: the row has one key")
    prefixes = VENDORS[row.provider].prefixes
    if row.key_variable and not row.key_variable.startswith(prefixes):
        raise ValueError(
            f"`key_variable` {row.key_variable} begins with none of {', '.join(prefixes)}: only variables with the vendor's"
            " prefix are kept from front doors"
        )
    if row.base_url and not (row.key_variable or row.key_file) and row.provider != REGIONAL:
        raise ValueError(
            "`base_url` needs a `key_variable` or a `key_file`, so that a key is sent to no address that it is not for"
        )


def _known(row: Upstream, field: str, name: str, models: Mapping[str, Model], names: Names) -> str:
    """The public name of a model that the row may serve."""
    found = names.find(name)
    if found is None:
        near = ", ".join(names.nearest(name))
        raise ValueError(f"`{field}` has {name!r}, which is no model" + (f": the nearest are {near}" if near else ""))
    if models[found].provider != row.provider:
        raise ValueError(f"`{field}` has {name!r}, which is a model of provider {models[found].provider}")
    return found


def _of_listed(ids: dict[str, str], listed: tuple[str, ...]) -> dict[str, str]:
    if left_over := [name for name in ids if listed and name not in listed]:
        raise ValueError(f"`model_ids` has {left_over[0]!r}, which is not one of its `models`")
    return ids
