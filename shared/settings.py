"""Every setting and every limit of the front door and the workers, read once from the environment.

`Settings.load` is the only reader of the environment in `api/`, `workers/` and `shared/`. Units are the last word of a
name; a wrong or missing value raises `SettingsError`, one line that names the variable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.addresses import Network
from shared.chat import MESSAGES_CEILING, TOOLS_CEILING
from shared.json_bounds import JSON_DEPTH_CEILING, JSON_DEPTH_MAX, JSON_NODES_MAX
from shared.lanes import QueueName, ServiceTier
from shared.money import COST_MAX, NANO_PER_USD
from shared.secret_files import secret
from shared.setting_bounds import fit_defaults, refuse_contradictions
from shared.setting_values import DAY_S, PORT_MAX, Parser, parser_of, queue_list

TURN_TIMEOUT_S = 10.0
Percent = Annotated[int, Meta(le=100)]
Port = Annotated[int, Meta(ge=0, le=PORT_MAX, description="a port")]
LockTimeout = Annotated[float, Meta(ge=0.001)]
"""Seconds; Postgres takes whole milliseconds, and 0 means no limit."""
LogFormat = Literal["json", "console"]


class SettingsError(ValueError):
    """A setting is missing or wrong; the message is one line that names the variable and what it takes."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a process. Shapes and units are in the names: `_s` is seconds, `_bytes` bytes, `_max` a limit. Whole
    numbers go from 1 to 2³¹-1 (bytes to 2⁴⁰), and seconds from 0.0001 to a day, unless the field's `Meta` says otherwise.
    """

    # addresses
    database_url: str
    redis_url: str
    # a file that holds the URL instead of `database_url`; it is read again at every connect
    database_url_file: Path | None = None
    redis_url_file: Path | None = None  # the same for `redis_url`
    # how often the files of vendors' keys are read again; a change counts once it is seen twice, or at once after SIGHUP
    secrets_look_every_s: float = 5.0
    host: str = "127.0.0.1"  # the address that a front door listens at
    port: Port = 8080  # the port that it listens at; 0: any free one
    web_concurrency: Annotated[int, Meta(le=64)] = 1  # processes of a front door that share its port
    metrics_port: Port | None = None  # the port of `/metrics`; None: no metrics
    metrics_host: str = "127.0.0.1"  # `host` unless it is given
    public_url: str | None = None  # where callers find the service; None: at the address that a request names
    trusted_proxies: tuple[Network, ...] = ()  # networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed
    # an open socket that a front door listens at instead of `host` and `port`
    listen_fd: Annotated[int, Meta(ge=0, le=65_535, description="an open file descriptor")] | None = None
    # a front door ends when this process does
    parent_pid: Annotated[int, Meta(ge=1, le=2**31, description="a process id")] | None = None
    # a file whose models and upstreams are added to the catalogue, or replace its rows
    catalogue_overlay: Path | None = None
    use_successors: bool = False  # every model that its vendor has replaced is served by its replacement
    price_factor: Decimal = Decimal(1)  # what callers pay is the vendor's price times this
    cors_origins: tuple[str, ...] = ()  # origins whose web pages may call the API; ("*",) allows all

    # logs and health
    log_level: str = "info"  # the least severe events that are logged: debug, info, warning, error
    log_format: LogFormat = "json"  # one JSON object per line, or text for a terminal
    traces: bool = False  # send spans by OTLP/HTTP, as OpenTelemetry's own variables OTEL_… say
    open_files_alert_percent: Percent = 90  # share of the files that the process may open
    keep_messages: bool = False  # the request log has the messages of each request
    ready_within_s: float = 3.0  # a store that does not answer within this time counts as away
    ready_grace_s: float = 30.0  # how long a store may be away before the process says that it is not ready

    # workers
    worker_slots: Annotated[int, Meta(le=10_000)] = 100  # jobs that a worker runs at once
    # queues that a worker serves, in order of priority, such as `openai:interactive,*:batch`; all by default
    worker_queues: tuple[QueueName, ...] = ()
    # slots of each worker that neither batches nor flex requests may take
    batch_slots_reserved: Annotated[int, Meta(ge=0, le=10_000)] = 10
    # share of a provider's slots in a worker that flex requests may take, if other lanes are served too
    flex_slots_percent: Percent = 40
    # share of a worker's slots that one provider may take, if the worker serves several
    provider_share_percent: Percent = 60
    # how long a claim holds without being renewed; a dead worker's jobs are due again after it
    lease_s: Annotated[float, Meta(ge=1, le=3_600)] = 10.0
    calls_told_every_s: float = 0.25  # vendor calls that run longer are booked if their worker dies
    drain_s: float = 60.0  # time that running jobs have to end when their worker stops
    idle_wait_s: float = 0.5  # how often a worker with a free slot looks for due jobs for which no bell rang
    heartbeat_s: float = 1.0  # how often a worker says that it lives
    worker_bytes_max: int = 160_000_000  # memory of a worker for large jobs; one large job of any size always runs
    # vendors' answers that a worker holds, or that are in Redis; one account may have half
    answers_running_bytes_max: int = 40_000_000
    short_answer_bytes_max: int = 65_536  # part of each answer that does not count towards that limit
    unsettled_bytes_max: int = 64_000_000  # answers that wait for Postgres; beyond it the worker takes no jobs
    attempts_max: int = 5  # attempts (claims) of one request, not counting its own waits; beyond them it fails
    # greatest difference between the machine's clock and a store's; beyond it nothing starts
    clock_off_max_s: float = 5.0
    clock_look_every_s: float = 5.0  # how often the clocks are compared
    # an older job is looked up in Postgres before it runs, because it may have ended already
    doubted_after_s: float = 5.0
    # repeats of a failed call, for a request that is no line of a batch
    vendor_retries_max: Annotated[int, Meta(ge=0, le=10)] = 2
    retry_delay_s: float = 0.25  # wait before the second call if the vendor names no time; it doubles with each call
    retry_delay_max_s: float = 30.0  # longest such wait
    # a request that has to wait longer goes back to the queue and frees the worker's slot
    retry_in_place_s: float = 1.0

    # upstreams: an open breaker keeps calls away from one that fails; all workers share it
    upstream_calls_min: int = 10  # calls within the window from which the share of failures counts
    upstream_failed_percent: Percent = 50  # share of failed calls within the window that opens the breaker
    upstream_failed_in_row: int = 5  # failures in a row that open the breaker, however few calls there were
    upstream_window_s: float = 30.0  # time for which outcomes of calls count
    # how long the breaker stays open the first time; the time doubles with each failed try
    upstream_open_s: float = 10.0
    upstream_open_max_s: float = 120.0  # longest time that the breaker stays open
    upstream_ramp_max: int = 64  # a recovering upstream counts as closed from this many calls at once
    # when a permit expires whose worker died during its call; living workers renew theirs every second. Not longer than
    # `upstream_wait_s`, so that a request that waits for such a call is not refused before the next one is made
    upstream_permit_s: float = 5.0
    upstream_probe_s: float = 15.0  # time in which a streamed call that tries an upstream must have its first byte
    # how long a request waits in the queue for an upstream, twice that while another request tries one; if none opens
    # within that time: 503
    upstream_wait_s: float = 5.0
    upstream_throttled_s: float = 30.0  # a request this old is refused if every upstream has throttled it again

    # one request
    request_deadline_s: float = 600.0  # deadline of a single request, from its arrival, and of one call to a vendor
    flex_deadline_s: float = 900.0  # deadline of a single flex request, and of each call at that tier
    connect_timeout_s: float = 10.0  # time to connect to a vendor
    idle_timeout_s: float = 120.0  # longest silence of a vendor during a call
    idle_timeout_reasoning_s: float = 300.0  # the same for a model that thinks
    body_bytes_max: int = 20_000_000  # bytes of a request's body
    # bodies that a front door holds until they are enqueued, or repeated in their answer
    bodies_held_bytes_max: int = 96_000_000
    bodies_held_share_bytes_max: int = 80_000_000  # part of that limit that one account may have
    small_body_bytes_max: int = 65_536  # smaller bodies have room of their own, `small_bodies_bytes_max`
    small_bodies_bytes_max: int = 16_000_000  # all small bodies that a front door holds
    bodies_room_within_s: float = 10.0  # how long an unread body waits for room
    # unread bytes of waiting bodies that connections hold; one account may have half
    bodies_unread_bytes_max: int = 48_000_000
    # copies of requests that a front door keeps, to enqueue them again if Redis loses them
    copies_bytes_max: int = 32_000_000
    admissions_at_once: int = 8  # small requests that a front door reserves and enqueues at once; accounts take turns
    admission_within_s: float = 10.0  # how long a small request waits for its turn
    # refused requests that one account may have answered per second; the answers to more wait for their turn
    refusals_per_s: int = 100
    refusal_wait_max_s: float = 2.0  # longest wait of such an answer
    body_within_s: float = 60.0  # time for a whole body; for a batch's body the longest pause
    body_bytes_per_s_min: int = 5_000  # slowest rate of a batch's body
    # how long the rest of a refused body is read, so that the caller gets the error
    refused_body_within_s: float = 10.0
    keepalive_s: float = 75.0  # life of an idle connection, and of one whose first header never ends
    # fields of objects and entries of lists in one body or line
    json_nodes_max: Annotated[int, Meta(ge=1_000, le=10_000_000)] = JSON_NODES_MAX
    # objects and lists within each other, in a schema or in arguments
    json_depth_max: Annotated[int, Meta(ge=16, le=JSON_DEPTH_CEILING)] = JSON_DEPTH_MAX
    messages_max: Annotated[int, Meta(le=MESSAGES_CEILING)] = 4_096  # messages of one request
    stop_sequences_max: int = 16  # stop sequences of one request
    # tools of one request; a model's vendor may take fewer
    tools_max: Annotated[int, Meta(le=TOOLS_CEILING)] = 512
    fallback_models_max: Annotated[int, Meta(ge=0, le=16)] = 4  # models that a request may name in `models`
    output_limit_default: int = 4_096  # output limit in tokens if the caller names none
    output_limit_default_reasoning: int = 16_384  # the same for a model that thinks
    # tokens below which a limit is not lowered to what the account can pay; then it is a 402
    output_limit_floor: int = 256
    in_flight_max: int = 1_000  # requests of one account at once, lines of batches among them
    responses_bytes_max: int = 1_000_000_000  # inputs and answers of one account's stored responses
    # inputs that one reservation writes; a larger input is written before its reservation
    reserve_inputs_bytes_max: int = 262_144

    # uploads and files
    uploads_max: int = 64  # uploads at once in one front door; each takes up to 3 MB of memory
    uploads_per_account_max: int = 16  # uploads at once of one account in one front door
    uploads_bytes_max: int = 64_000_000  # memory beside that for lines of more than 250 KB, until they are stored
    upload_silent_s: float = 300.0  # an upload is given up if its front door gives no sign for this long
    files_max: int = 10_000  # files of one account
    files_bytes_max: int = 10_000_000_000  # bytes of one account's files
    files_bytes_free: int = 1_000_000  # bytes of files that every account may have, whatever its balance
    files_bytes_per_usd: int = 1_000_000_000  # more bytes of files for each USD of the balance, up to `files_bytes_max`
    files_sweep_bytes: int = 4_000_000  # lines of deleted files that one statement deletes

    # batches
    batch_bytes_max: int = 256_000_000  # bytes of one batch's lines
    batch_lines_max: int = 100_000  # lines of one batch
    batch_line_bytes_max: int = 4_000_000  # bytes of one line
    # upper bound of what one line may cost, checked when it is sent
    batch_line_usd_max: Annotated[int, Meta(le=COST_MAX // NANO_PER_USD, description="a whole number of USD")] = 1_000
    batches_open_max: int = 100  # open batches of one account
    # time from a batch's creation to its expiry
    batch_expires_s: Annotated[float, Meta(ge=1, le=30 * DAY_S)] = 86_400.0
    batch_item_deadline_s: float = 3_600.0  # deadline of a line, from the moment when it is fed to the queue
    batch_retries_max: Annotated[int, Meta(ge=0, le=100)] = 10  # repeats of a failed call, for a line of a batch
    batch_price_factor: Decimal = Decimal(1)  # lines cost the price of a single request times this
    batch_balance_percent: Percent = 80  # share of an account's balance that may be held for its batches
    # part of `in_flight_max` that an account's batches leave to its interactive requests
    batch_in_flight_kept: Annotated[int, Meta(ge=0, le=1_000_000)] = 500
    # items queued or running for each slot of the workers that take them
    batch_window_per_slot: Annotated[float, Meta(ge=0.1, le=1_000, description="a number of lines for each slot")] = 2.0
    batch_window_max: int = 2_000  # items of one feed in Redis at once, however many slots there are
    batch_window_bytes_max: int = 64_000_000  # bytes of these items
    batch_concurrency_start: int = 64  # calls at once of one model, until the vendor's rate limits are known
    batch_concurrency_max: int = 2_000  # calls at once of one model at one upstream, whatever its rate limits
    batch_feed_every_s: float = 0.05  # how often a feed goes on while it has lines to feed
    # how often it looks for lines when it had none, and batches are looked at for their ends
    batch_look_every_s: float = 0.5
    batch_model_unknown_s: float = 300.0  # how long a new batch waits for a worker that knows its lines' models
    batch_lost_after_s: float = 10.0  # an item that Redis does not know so long after it was fed is enqueued again
    batch_days_kept: Annotated[int, Meta(le=3_650)] = 30  # days for which a batch's results are kept
    batch_export_s3: str | None = None  # where results are exported to, such as s3://bucket/prefix
    batch_export_timeout_s: float = 3_600.0  # time for the export of one batch
    batch_export_retry_s: float = 30.0  # wait before a failed export is tried again
    # exports at once in one worker; each takes a part of 8 MB of memory
    batch_exports_at_once: Annotated[int, Meta(le=100)] = 2

    # stores
    # connections of one process; a worker's tasks may hold 8 at once
    database_connections_max: Annotated[int, Meta(ge=8, le=10_000)] = 8
    # alert if all processes together may open more than this share of the server's connections
    database_budget_alert_percent: Percent = 80
    # time for one query; a query of the pool takes up to twice as long, because it is cancelled first
    database_timeout_s: float = 5.0
    lock_timeout_s: LockTimeout = 0.25  # how long a statement waits for a lock
    # how long changes of the same account's batches, files or keys wait for each other
    turn_timeout_s: LockTimeout = TURN_TIMEOUT_S
    # how long a migration waits for a table's lock; less than `lock_timeout_s`, so that traffic passes
    ddl_lock_timeout_s: LockTimeout = 0.1
    ddl_within_s: float = 600.0  # how long a migration tries to get its locks
    redis_timeout_s: float = 3.0  # time for one command
    redis_patience_s: float = 60.0  # how long a request waits for a Redis that is away
    coalesce_s: float = 0.04  # longest pause between two reads of one of many slow streams; below 0.01 it is off
    journal_window_s: float = 0.002  # events of all streams of a worker that come within this time are written together
    # settlements that come within this time are written together; no caller waits for them
    settle_window_s: float = 0.05
    micro_batch_rows_max: int = 256  # rows that one call of `reserve` or `settle` writes
    micro_batch_pending_max: int = 20_000  # rows that may wait for such a call; beyond it: 503
    settle_retry_s: float = 1.0  # wait before a failed write of settlements is repeated
    settle_answers_bytes_max: int = 1_000_000  # answers that one call to Postgres writes
    # how long a settle record is kept after its commit, which a Postgres that fails over may lose
    settled_kept_s: float = 60.0
    settled_kept_max: int = 50_000  # settle records kept after their commit; each has about a kilobyte
    settled_kept_bytes_max: int = 64_000_000  # bytes of all of them
    settled_record_bytes_max: int = 4_096  # a longer answer is not kept with its settle record
    sweep_every_s: float = 5.0  # how often a worker sweeps
    hold_grace_s: float = 60.0  # how long after its request's deadline and two leases a hold expires

    # queue and relay
    # above this a queue takes requests only from accounts below their share; above twice this from none
    queue_depth_max: int = 10_000
    queue_bytes_max: int = 256_000_000  # the same limit for the bytes of payloads that wait or run
    # last part of twice that limit, for accounts with nothing large in the queue
    queue_newcomers_bytes: int = 128_000_000
    queue_reserve_bytes: int = 64_000_000  # room beside that limit for small payloads
    small_payload_bytes_max: int = 65_536  # payloads up to this size are small
    worker_seen_s: float = 5.0  # a worker without a heartbeat for this long counts as dead
    worker_missing_s: float = 30.0  # requests for a queue that had no worker for this long are refused
    journal_ttl_s: float = 600.0  # how long a journal is kept after its request's end
    # life of answers of requests with an Idempotency-Key or `respond-async`, and of the keys
    answers_kept_s: float = 86_400.0
    # how often a front door looks whether Redis still has the requests of callers who come back later
    custody_every_s: float = 5.0
    custody_requests_max: int = 10_000  # such requests that a front door looks after
    asked_bytes_max: int = 65_536  # longer messages are not kept with their answer
    kept_bytes_max: int = 256_000_000  # journals and messages of ended requests in Redis; the oldest are deleted first
    # how long a journal with a reader is kept; above twice `kept_bytes_max` only a small one is
    kept_for_readers_s: float = 120.0
    relay_buffer_bytes: int = 65_536  # events that wait in memory for one reader; more wait in the journal
    relay_silence_s: float = 1.0  # silence after which a follower reads the journal
    relay_bytes_max: int = 32_000_000  # events in memory that are large or wait for readers; one account may have half
    relay_within_s: float = 60.0  # how long a large event waits for that room
    # answers that are held because their stream repeats them at its end; one account may have half
    held_streams_bytes_max: int = 64_000_000
    abandoned_after_s: float = 10.0  # a request is cancelled when nobody has read it for this long
    sse_keepalive_s: float = 15.0  # how often a silent stream of server-sent events says that it lives

    # slow readers
    write_timeout_s: float = 30.0  # a reader that takes nothing for this long is cut off
    read_bytes_per_s_min: int = 1_000  # slowest average rate of a reader, after `read_grace_s`
    read_grace_s: float = 120.0  # time before a reader's rate is looked at
    # unsent bytes that the kernel buffers for one reader
    socket_unsent_bytes_max: Annotated[int, Meta(ge=4_096, le=2**31 - 1)] = 131_072
    answer_bytes_max: int = 64_000_000  # large answers that a front door is sending; one account may have half
    answer_within_s: float = 30.0  # how long a large answer waits for that room
    lists_within_s: float = 30.0  # how long a long list waits for its turn
    results_bytes_max: int = 64_000_000  # results of batches that a front door is sending; one account may have half
    results_page_bytes_max: int = 1_000_000  # results that are read from Postgres at once; a longer line is read alone
    results_begin_within_s: float = 30.0  # how long a download waits for that room before its first byte
    results_go_on_within_s: float = 600.0  # how long it waits for that room later

    # keys
    # how long a front door trusts a key that it has looked up; a revocation takes effect within this time
    auth_cache_s: Annotated[float, Meta(ge=0, le=1)] = 1.0
    auth_cache_max: int = 10_000  # keys that a front door remembers
    key_ends_every_s: float = 1.0  # how often front doors and workers look whether a running request's key has ended
    keys_per_account_max: int = 1_000  # usable keys of one account; operators may make more
    # longest time for which a rotated key may live on
    key_grace_max_s: Annotated[float, Meta(ge=0, le=315_360_000)] = 2_592_000.0

    # operators
    operator_api: bool = True  # front doors serve `/operator`
    operator_guesses_max: int = 20  # wrong tokens per minute from one address, in one front door

    # the console
    console_session_s: float = 43_200.0  # life of a session of the console
    console_sign_ins_per_minute: int = 20  # tries to sign in from one address
    console_search_rows_max: int = 10_000  # rows of the request log that one page of a search looks through

    # usage
    usage_days_max: Annotated[int, Meta(le=3_660)] = 366  # days that one report of usage covers
    usage_rows_max: int = 20_000  # rows of one report

    # retention
    retention_every_s: float = 60.0  # how often what has expired is deleted
    retention_rows_max: int = 500  # rows that one statement deletes

    def deadline_s(self, tier: ServiceTier) -> float:
        """Deadline of a single request (not a batch line) at this tier, and of one call to a vendor."""
        return self.flex_deadline_s if tier == "flex" else self.request_deadline_s

    @property
    def deadline_max_s(self) -> float:
        """The longest deadline of any tier."""
        return max(self.request_deadline_s, self.flex_deadline_s)

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the environment. Raises `SettingsError` for the first wrong variable, or for two that
        contradict each other.
        """
        env = os.environ if environment is None else environment
        values: dict[str, object] = {}
        for field in msgspec.structs.fields(cls):
            variable = _VARIABLES.get(field.name, field.name.upper())
            text = _secret(variable, env) if variable in _FROM_FILES else env.get(variable, "").strip()
            if text:
                values[field.name] = _parse(variable, text, parser_of(field.name, field.type))
            elif field.required:
                raise SettingsError(f"{variable} is not set: {_REQUIRED[field.name]}")
        values.setdefault("worker_queues", queue_list("*:interactive,*:batch"))
        fit_defaults(values, {field.name: field.default for field in msgspec.structs.fields(cls)})
        settings = cls(**values)  # type: ignore[arg-type]
        try:
            refuse_contradictions(settings)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        return settings


def _secret(variable: str, environment: Mapping[str, str]) -> str:
    try:
        return secret(variable, environment)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _parse(variable: str, text: str, parser: Parser | None) -> object:
    if parser is None:
        return text
    try:
        return parser(text)
    except ValueError as error:
        shown = variable if variable.endswith("_URL") else f"{variable}={text!r}"  # a URL may hold a password
        raise SettingsError(f"{shown} is wrong: it takes {error}") from None


_VARIABLES = {"catalogue_overlay": "CATALOGUE"}
_FROM_FILES = ("DATABASE_URL", "REDIS_URL")
_REQUIRED = {
    "database_url": "it takes postgresql://user:password@host:port/name (`make run` brings its own server)",
    "redis_url": "it takes redis://host:port/0 (`make run` brings its own server)",
}
