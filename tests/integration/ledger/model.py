"""The rules of the ledger, written down a second time and as plainly as possible."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.ledger.chains import PinnedModel
from shared.ledger.rows import Reservation
from shared.ledger.settlement import Settlement

IN_FLIGHT_MAX = 5
KEY_LIMIT = 60


class Model:
    """Answers as the SQL functions do; `held` and `charged` are nano-USD by request."""

    def __init__(self, accounts: list[str], limited_keys: list[str]) -> None:
        self.balance = dict.fromkeys(accounts, 0)
        self.holds: dict[str, Reservation] = {}
        self.held: dict[str, int] = {}
        self.ended: dict[str, Settlement] = {}
        self.charged: dict[str, int] = {}
        self.holds_were: dict[str, int] = {}
        """Of requests that have ended."""
        self.unbilled: dict[str, int] = {}
        self.overruns: dict[str, int] = {}
        self.refs: set[tuple[str, str]] = set()
        self.limited_keys = limited_keys
        self.idempotency_keys: dict[tuple[str, bytes], Reservation] = {}
        self.answers: dict[str, bytes] = {}

    def held_of(self, account: str) -> int:
        return sum(hold for request, hold in self.held.items() if self.holds[request].account_id == account)

    def in_flight_of(self, account: str) -> int:
        return sum(self.holds[request].account_id == account for request in self.held)

    def used_of(self, key: str) -> int:
        spent = {**self.charged, **self.held}
        return sum(amount for request, amount in spent.items() if self.holds[request].key_id == key)

    def usage(self) -> dict[tuple[object, ...], list[int]]:
        """By account, day, model and key: requests, failed, four kinds of tokens, charged, and tokens written to a cache."""
        sums: dict[tuple[object, ...], list[int]] = {}
        for end in self.ended.values():
            wish = self.holds[end.id]
            group = (wish.account_id, wish.created_at.date(), end.served or wish.model, wish.key_id)
            tokens = (end.tokens_input, end.tokens_output, end.tokens_cached, end.tokens_reasoning)
            counts = [1, end.state != "succeeded", *(count or 0 for count in tokens)]
            row = [*counts, self.charged[end.id], end.tokens_cache_written or 0]
            sums[group] = [total + more for total, more in zip(sums.get(group, [0] * 8), row, strict=True)]
        return sums

    def reserve(self, batch: list[Reservation]) -> dict[str, tuple[str, int | str | None]]:
        return {wish.id: self._reserve(wish) for wish in batch}

    def _reserve(self, wish: Reservation) -> tuple[str, int | str | None]:
        first = self._first_with_the_key_of(wish)
        if first and first.fingerprint != wish.fingerprint:
            return "mismatch", None
        if first and not self._failed_uncharged(first.id):
            return "repeat", first.id
        credit = self.balance[wish.account_id] - self.held_of(wish.account_id)
        key_left = KEY_LIMIT - self.used_of(wish.key_id) if wish.key_id in self.limited_keys else credit
        limits = range(wish.output_limit, wish.output_floor - 1, -1)
        granted = next((limit for limit in limits if price(wish, limit) <= min(credit, key_left)), None)
        if self.in_flight_of(wish.account_id) >= IN_FLIGHT_MAX:
            return "in_flight", None
        if granted is None:
            return ("credit" if price(wish, wish.output_floor) > credit else "key_limit"), None
        self.holds[wish.id] = wish
        self.held[wish.id] = price(wish, granted)
        if wish.idempotency_key:
            self.idempotency_keys[wish.account_id, wish.idempotency_key] = wish
        return "admitted", granted

    def _first_with_the_key_of(self, wish: Reservation) -> Reservation | None:
        first = self.idempotency_keys.get((wish.account_id, wish.idempotency_key or b""))
        return first if first and first.keep_until and first.keep_until > datetime.now(UTC) else None

    def _failed_uncharged(self, request: str) -> bool:
        return request in self.ended and self.ended[request].state != "succeeded" and not self.charged[request]

    def settle(self, batch: list[Settlement]) -> dict[str, str]:
        return {end.id: self._settle(end) for end in batch}

    def _settle(self, end: Settlement) -> str:
        if end.id not in self.holds:
            return "unknown"
        if end.id in self.held:
            hold = self.holds_were[end.id] = self.held.pop(end.id)
            self.ended[end.id] = end
            self.charged[end.id] = min(end.charge_nano, hold)
            self.balance[end.account_id] -= self.charged[end.id]
            if end.answer is not None:
                self.answers[end.id] = end.answer
            if end.charge_nano > hold:
                self.overruns[end.id] = end.charge_nano - hold
            return "settled"
        if end.charge_nano and self.ended[end.id].hold_state != "settled" and end.id not in self.unbilled:
            self.unbilled[end.id] = end.charge_nano
            return "unbilled"
        both_settled = "settled" == end.hold_state == self.ended[end.id].hold_state
        hold = self.holds_were[end.id]
        return "differs" if both_settled and min(end.charge_nano, hold) != self.charged[end.id] else "repeated"

    def credit(self, account: str, amount: int, ref: str | None) -> bool | None:
        if ref is not None and (account, ref) in self.refs:
            return False
        if self.balance[account] + amount < self.held_of(account):
            return None
        if ref is not None:
            self.refs.add((account, ref))
        self.balance[account] += amount
        return True


def price(wish: Reservation | PinnedModel, output: int) -> int:
    if isinstance(wish, Reservation) and wish.chain:
        return max(price(one, min(output, one.output_limit)) for one in wish.chain)
    dearest_input = max(wish.input_price, wish.hold_input_price or 0)
    dearest_output = max(wish.output_price, wish.hold_output_price or 0)
    return _rounded_up(wish.input_bound * dearest_input + output * dearest_output)


def cost(wish: Reservation | PinnedModel, used: Settlement) -> int:
    """What its tokens cost. The previous release does not say what was written to a cache, and charges the first prices."""
    tokens_input, cached, output = used.tokens_input or 0, used.tokens_cached or 0, used.tokens_output or 0
    written, written_long = used.tokens_cache_written or 0, used.tokens_cache_written_long or 0
    rates = [
        *(wish.input_price, wish.output_price, wish.cached_price),
        *(wish.cache_write_price, wish.cache_write_long_price),
    ]
    if used.tokens_cache_written is not None and wish.long_above is not None and tokens_input > wish.long_above:
        rates = [
            *(wish.long_input_price, wish.long_output_price, wish.long_cached_price),
            *(wish.long_cache_write_price, wish.long_cache_write_long_price),
        ]
    of_input, of_output, of_cached, of_written, of_written_long = rates
    of_written = of_input if of_written is None else of_written
    total = (tokens_input - cached - written) * (of_input or 0) + output * (of_output or 0)
    total += cached * ((of_input if of_cached is None else of_cached) or 0)
    total += (written - written_long) * (of_written or 0)
    total += written_long * ((of_written if of_written_long is None else of_written_long) or 0)
    return _rounded_up(total)


def _rounded_up(products: int) -> int:
    return -(-products // 1_000_000)
