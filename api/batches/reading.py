"""Parses the lines of a file, or the requests of a body. What cannot be parsed is set aside with its
number and the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from api.batches.custom_ids import CustomIds, custom_id_of
from api.formats.asked import Asked, ParsedLine
from api.formats.parsing import parse
from api.requests.fallbacks import chain_of, served_now
from api.requests.model_check import at_tier, fit_to_model
from api.requests.model_names import V1_LISTED_AT, unknown_model_first
from shared.batches.batches import Ask, AskedElse, pack_ask
from shared.batches.bounds import cost_bound, require_at_most
from shared.batches.files import Form, Line, LineError
from shared.catalogue.models import LISTED_AT, Model
from shared.errors import InvalidRequest, Overloaded, RebootError, RequestTooLarge
from shared.lanes import ServiceTier, fed_queue, feed_of, lane_of
from shared.money import NANO_PER_USD, NanoUsd

if TYPE_CHECKING:
    from api.services import Services
    from shared.ledger.api_keys import ApiKey

ERRORS_SHOWN_MAX = 100
T = TypeVar("T")
ParseLine = Callable[[bytes], ParsedLine]
"""Parses the text of a line, or raises a `RebootError` for this line."""


class Reader(Protocol):
    """Parses what `Parts` yields."""

    bad: int
    """The number of lines that were set aside; `errors` are the first of them."""
    errors: list[LineError]

    def read(self, number: int, text: bytes | None) -> Line:
        """Parse one line. `text` is None if it was too long. An exception refuses the whole upload."""


class _Checks:
    """Checks of every line that is sent with `key`, in any form. `tier` is the tier of lines that name none."""

    def __init__(self, services: Services, form: Form, key: ApiKey, tier: ServiceTier = "default") -> None:
        self._services = services
        self._tier: ServiceTier = tier
        self._key = key
        self._listed_at = LISTED_AT if form == "native" else V1_LISTED_AT
        self._ids = CustomIds()
        self.bad = 0
        self.errors: list[LineError] = []
        """The first lines that were set aside."""

    @property
    def _shows_more(self) -> bool:
        """True if another bad line would be listed in `errors`. Similar model names are looked up only for listed lines,
        because that takes time.
        """
        return len(self.errors) < ERRORS_SHOWN_MAX

    def _understood(self, text: bytes, parse: Callable[[bytes], T]) -> T:
        """Parse a line. Raises a `RebootError`; an unknown model is reported before anything else."""
        with unknown_model_first(text, self._services.catalogue, self._listed_at, nearest=self._shows_more):
            return parse(text)

    def _set_aside(self, number: int, custom_id: str | None, error: RebootError, where: str = "") -> Line:
        self.bad += 1
        found = LineError(number, error.code, _storable(where + error.message))
        if self._shows_more:
            self.errors.append(found)
        return Line(number=number, custom_id=custom_id, error_code=found.code, error_message=found.message)

    def _line(self, number: int, parsed: ParsedLine) -> Line:
        given = msgspec.structs.replace(parsed.asked, service_tier=parsed.asked.service_tier or self._tier)
        ask, model = self._with_chain(given) if given.models else self._of_one_model(given)
        self._require_affordable(ask, model)
        feed = feed_of(model.provider, model.service_tier)
        return Line(number=number, custom_id=parsed.custom_id, feed=feed, asked=pack_ask(ask))

    def _of_one_model(self, given: Asked) -> tuple[Ask, Model]:
        services = self._services
        named = services.catalogue.find(given.model, self._listed_at, nearest=self._shows_more).name
        model = services.catalogue.serving(named)
        asked, model = fit_to_model(given, model, services.settings, strict=self._key.strict)
        model = at_tier(asked, model, services.catalogue)
        with contextlib.suppress(Overloaded):  # the line waits for a worker
            services.directory.require(model, _lane_of(model))
        return _ask(named, asked), model

    def _with_chain(self, given: Asked) -> tuple[Ask, Model]:
        services = self._services
        chain = chain_of(
            given,
            services.catalogue,
            services.settings,
            self._listed_at,
            strict=self._key.strict,
            nearest=self._shows_more,
        )
        chain = served_now(chain, services.directory, _lane_of, waits=True)
        now, *others = chain.models[len(chain.passed) :]
        asked = msgspec.structs.replace(given, sampling=now.sampling, ignored=now.ignored)
        else_ = (
            AskedElse(one.name, msgspec.structs.replace(one.sampling, json_answer=None), one.ignored) for one in others
        )
        passed = tuple(one.name for one in chain.models[: len(chain.passed)])
        ask = msgspec.structs.replace(_ask(now.name, asked), others=tuple(else_), passed=passed)
        for one in others:
            self._require_affordable(msgspec.structs.replace(ask, sampling=one.sampling), one.model)
        return ask, now.model

    def _require_affordable(self, ask: Ask, model: Model) -> None:
        settings = self._services.settings
        most = NanoUsd(settings.batch_line_usd_max * NANO_PER_USD)
        require_at_most(most, cost_bound(ask, model, settings))


def _lane_of(model: Model) -> str:
    return lane_of(fed_queue(feed_of(model.provider, model.service_tier)))


def _ask(named: str, asked: Asked) -> Ask:
    repeated = asked.stored_input.repeated if asked.stored_input else None
    said = (asked.messages, asked.sampling, asked.tools, asked.max_tokens)
    return Ask(named, *said, asked.metadata, asked.ignored, repeated)


class LineReader(_Checks):
    """Parses the lines of one file."""

    def __init__(
        self, services: Services, form: Form, key: ApiKey, parse_line: ParseLine, tier: ServiceTier = "default"
    ) -> None:
        super().__init__(services, form, key, tier)
        self._parse = parse_line

    def read(self, number: int, text: bytes | None) -> Line:
        """Parse one line. A line that cannot run is returned as a failed one; the other lines run."""
        try:
            if text is None:
                raise RequestTooLarge(f"It is longer than {self._services.settings.batch_line_bytes_max} bytes.")
            parsed = self._understood(text, self._parse)
            self._ids.add(parsed.custom_id)
            return self._line(number, parsed)
        except RebootError as error:
            return self._set_aside(number, custom_id_of(text), error, f"Line {number}: ")


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of `requests`: what is asked, and an id for its result."""

    custom_id: str
    params: msgspec.Raw


_request_decoder = msgspec.json.Decoder(BatchRequest)


class RequestReader(_Checks):
    """Parses the requests of one body. Results are found by their ids only, so a request without a valid id refuses the
    whole body. A fault in `params` is the request's own, as with Anthropic (platform.claude.com/docs, batch processing,
    read 2026-11).
    """

    def __init__(self, services: Services, form: Form, key: ApiKey, parse_params: Callable[[bytes], Asked]) -> None:
        super().__init__(services, form, key)
        self._parse = parse_params

    def read(self, number: int, text: bytes | None) -> Line:
        """Parse one request. Raises `InvalidRequest` or `RequestTooLarge`, which names the request by its place in the
        list, from 0.
        """
        where = f"requests.{number - 1}"
        if text is None:
            raise RequestTooLarge(
                f"`{where}` is longer than {self._services.settings.batch_line_bytes_max} bytes: shorten it."
            )
        request = self._named(where, text)
        try:
            asked = self._understood(bytes(request.params), self._parse)
            return self._line(number, ParsedLine(request.custom_id, asked))
        except RebootError as error:
            return self._set_aside(number, request.custom_id, error)

    def _named(self, where: str, text: bytes) -> BatchRequest:
        try:
            request = parse(text, _request_decoder, "A request takes custom_id and params")
            self._ids.add(request.custom_id)
        except InvalidRequest as error:
            raise InvalidRequest(f"`{where}`: {error.message}") from None
        return request


def _storable(text: str) -> str:
    """Replace NUL, which Postgres does not store and an error message may quote."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
