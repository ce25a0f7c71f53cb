"""Understands a file's lines, or sets them aside with their numbers and the reason why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from api.batches.custom_ids import CustomIds, custom_id_of
from api.formats.asked import ParsedLine
from api.requests.model_check import at_tier, fit_to_model
from api.requests.model_names import V1_LISTED_AT, unknown_model_first
from shared.batches.batches import Ask, pack_ask
from shared.batches.bounds import cost_bound, require_at_most
from shared.batches.files import Form, Line, LineError
from shared.catalogue.models import LISTED_AT
from shared.errors import Overloaded, RebootError, RequestTooLarge
from shared.lanes import ServiceTier, fed_queue, feed_of, lane_of
from shared.money import NANO_PER_USD, NanoUsd

if TYPE_CHECKING:
    from api.services import Services
    from shared.ledger.api_keys import ApiKey

ERRORS_SHOWN_MAX = 100
ParseLine = Callable[[bytes], ParsedLine]
"""Makes a line of it, or raises a `RebootError` for that line alone."""


class LineReader:
    """Reads the lines of one file, sent with `key`; `tier` is that of lines which say none."""

    def __init__(
        self, services: Services, form: Form, key: ApiKey, parse_line: ParseLine, tier: ServiceTier = "default"
    ) -> None:
        self._services = services
        self._tier: ServiceTier = tier
        self._key = key
        self._parse = parse_line
        self._listed_at = LISTED_AT if form == "native" else V1_LISTED_AT
        self._ids = CustomIds()
        self.bad = 0
        self.errors: list[LineError] = []
        """The first of them."""

    @property
    def _shows_more(self) -> bool:
        """Whether another bad line would be among `errors`. Names are compared for those only, because it takes its time."""
        return len(self.errors) < ERRORS_SHOWN_MAX

    def read(self, number: int, line: bytes | None) -> Line:
        """None stands for a line that is too long."""
        try:
            if line is None:
                raise RequestTooLarge(f"It is longer than {self._services.settings.batch_line_bytes_max} bytes.")
            with unknown_model_first(line, self._services.catalogue, self._listed_at, nearest=self._shows_more):
                parsed = self._parse(line)
            self._ids.add(parsed.custom_id)
            return self._line(number, parsed)
        except RebootError as error:
            self.bad += 1
            found = LineError(number, error.code, _storable(f"Line {number}: {error.message}"))
            if self._shows_more:
                self.errors.append(found)
            return Line(number=number, custom_id=custom_id_of(line), error_code=found.code, error_message=found.message)

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


def _storable(text: str) -> str:
    """Postgres stores no NUL; a message may quote one."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
