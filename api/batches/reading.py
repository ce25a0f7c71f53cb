"""Understands the lines of a file, or the requests of a body, or sets them aside with their numbers and the reason why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from api.batches.custom_ids import CustomIds, custom_id_of
from api.formats.asked import Asked, ParsedLine
from api.formats.parsing import parse
from api.requests.model_check import at_tier, fit_to_model
from api.requests.model_names import V1_LISTED_AT, unknown_model_first
from shared.batches.batches import Ask, pack_ask
from shared.batches.bounds import cost_bound, require_at_most
from shared.batches.files import Form, Line, LineError
from shared.catalogue.models import LISTED_AT
from shared.errors import InvalidRequest, Overloaded, RebootError, RequestTooLarge
from shared.lanes import ServiceTier, fed_queue, feed_of, lane_of
from shared.money import NANO_PER_USD, NanoUsd

if TYPE_CHECKING:
    from api.services import Services
    from shared.ledger.api_keys import ApiKey

ERRORS_SHOWN_MAX = 100
T = TypeVar("T")
ParseLine = Callable[[bytes], ParsedLine]
"""Makes a line of it, or raises a `RebootError` for that line alone."""


class Reader(Protocol):
    """Reads what `Parts` gives."""

    bad: int
    """How many were set aside, and the first of those."""
    errors: list[LineError]

    def read(self, number: int, line: bytes | None) -> Line:
        """None stands for one that is too long. What is raised is no single line's fault: the whole upload is refused."""


class _Checks:
    """What holds for every line that is sent with `key`, in any form; `tier` is that of lines which say none."""

    def __init__(self, services: Services, form: Form, key: ApiKey, tier: ServiceTier = "default") -> None:
        self._services = services
        self._tier: ServiceTier = tier
        self._key = key
        self._listed_at = LISTED_AT if form == "native" else V1_LISTED_AT
        self._ids = CustomIds()
        self.bad = 0
        self.errors: list[LineError] = []
        """The first of them."""

    @property
    def _shows_more(self) -> bool:
        """Whether another bad line would be among `errors`. Names are compared for those only, because it takes its time."""
        return len(self.errors) < ERRORS_SHOWN_MAX

    def _understood(self, line: bytes, parse: Callable[[bytes], T]) -> T:
        """Raises a `RebootError`: that the model is unknown before anything else."""
        with unknown_model_first(line, self._services.catalogue, self._listed_at, nearest=self._shows_more):
            return parse(line)

    def _set_aside(self, number: int, custom_id: str | None, error: RebootError, where: str = "") -> Line:
        self.bad += 1
        found = LineError(number, error.code, _storable(where + error.message))
        if self._shows_more:
            self.errors.append(found)
        return Line(number=number, custom_id=custom_id, error_code=found.code, error_message=found.message)

    def _line(self, number: int, parsed: ParsedLine) -> Line:
        services = self._services
        named = services.catalogue.find(parsed.asked.model, self._listed_at, nearest=self._shows_more).name
        model = services.catalogue.serving(named)
        asked, model = fit_to_model(parsed.asked, model, services.settings, strict=self._key.strict)
        asked = msgspec.structs.replace(asked, service_tier=asked.service_tier or self._tier)
        model = at_tier(asked, model, services.catalogue)
        feed = feed_of(model.provider, model.service_tier)
        with contextlib.suppress(Overloaded):  # it waits for a worker
            services.directory.require(model, lane_of(fed_queue(feed)))
        told = asked.kept.told if asked.kept else None
        ask = Ask(
            named, asked.messages, asked.sampling, asked.tools, asked.max_tokens, asked.metadata, asked.ignored, told
        )
        most = NanoUsd(services.settings.batch_line_usd_max * NANO_PER_USD)
        require_at_most(most, cost_bound(ask, model, services.settings))
        return Line(number=number, custom_id=parsed.custom_id, provider=feed, asked=pack_ask(ask))


class LineReader(_Checks):
    """Reads the lines of one file."""

    def __init__(
        self, services: Services, form: Form, key: ApiKey, parse_line: ParseLine, tier: ServiceTier = "default"
    ) -> None:
        super().__init__(services, form, key, tier)
        self._parse = parse_line

    def read(self, number: int, line: bytes | None) -> Line:
        """Returns a line that cannot run as one that failed, and raises nothing: the other lines run."""
        try:
            if line is None:
                raise RequestTooLarge(f"It is longer than {self._services.settings.batch_line_bytes_max} bytes.")
            parsed = self._understood(line, self._parse)
            self._ids.add(parsed.custom_id)
            return self._line(number, parsed)
        except RebootError as error:
            return self._set_aside(number, custom_id_of(line), error, f"Line {number}: ")


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of `requests`: what is asked, and an id to find its result by."""

    custom_id: str
    params: msgspec.Raw


_request_decoder = msgspec.json.Decoder(BatchRequest)


class RequestReader(_Checks):
    """Reads the requests of one body. Results are found by their ids alone, so a request without one of its own spoils the
    body; what is wrong with its `params` is its own, as with Anthropic (platform.claude.com/docs, batch processing, read
    2026-11).
    """

    def __init__(self, services: Services, form: Form, key: ApiKey, parse_params: Callable[[bytes], Asked]) -> None:
        super().__init__(services, form, key)
        self._parse = parse_params

    def read(self, number: int, line: bytes | None) -> Line:
        """Raises `InvalidRequest` or `RequestTooLarge` that names the request by its place in the list, from 0."""
        where = f"requests.{number - 1}"
        if line is None:
            raise RequestTooLarge(
                f"`{where}` is longer than {self._services.settings.batch_line_bytes_max} bytes: shorten it."
            )
        request = self._named(where, line)
        try:
            asked = self._understood(bytes(request.params), self._parse)
            return self._line(number, ParsedLine(request.custom_id, asked))
        except RebootError as error:
            return self._set_aside(number, request.custom_id, error)

    def _named(self, where: str, line: bytes) -> BatchRequest:
        try:
            request = parse(line, _request_decoder, "A request takes custom_id and params")
            self._ids.add(request.custom_id)
        except InvalidRequest as error:
            raise InvalidRequest(f"`{where}`: {error.message}") from None
        return request


def _storable(text: str) -> str:
    """Postgres stores no NUL; a message may quote one."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
