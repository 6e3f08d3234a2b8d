"""What is measured, folded from the engine's step messages; scraping never reaches the engine.

Names follow vLLM's shapes under our own prefix.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from gguf_server.errors import REQUEST_ERRORS
from gguf_server.supervisor.generation import Generation
from gguf_server.wire.messages import PHASES, FinishReason, ModelFacts, StepStats

_PREFIX = "gguf_server_"
_ENDS = ("stop", "length", "cancelled", "error")
_CAUSES = ("crash", "stall")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_TOKENS = (1, 8, 32, 128, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)


class Metrics:
    """All series of one server, in a registry of its own."""

    _running: Gauge
    _waiting: Gauge
    _kv_used: Gauge
    _kv_usage: Gauge
    _largest_prefill: int

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each counter, which nobody reads
        self.registry = CollectorRegistry()
        self._request_series()
        self._step_series()
        self._host_series()
        self._engine_series()
        self._last_preempted = 0
        self._last_evicted = 0
        self._last_host_hits = 0
        self._last_host_failures = 0

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    # --- requests ----------------------------------------------------------------------------

    def started(self, generation: Generation) -> None:
        started_at = generation.started_at or generation.submitted_at
        self._queue_time.observe(max(0.0, started_at - generation.submitted_at))
        self._prompt_tokens.inc(generation.num_prompt_tokens)
        self._prompt_length.observe(generation.num_prompt_tokens)
        self._prefix_hits.inc(generation.num_cached_tokens)

    def token(self, generation: Generation, now: float) -> None:
        """A token of this generation arrived; ``generation`` still tells of the one before."""
        self._generated.inc()
        if generation.last_token_at is not None:
            self._inter_token.observe(now - generation.last_token_at)
            return
        self._time_to_first_token.observe(now - generation.submitted_at)
        if generation.started_at is not None:
            self._prefill_time.observe(now - generation.started_at)

    def finished(self, generation: Generation, reason: FinishReason, now: float) -> None:
        self._requests.labels(reason).inc()
        self._e2e_time.observe(now - generation.submitted_at)
        self._generation_length.observe(generation.num_completion_tokens)
        self._decode_time.observe(now - (generation.first_token_at or now))

    def failed(self) -> None:
        self._requests.labels("error").inc()

    def cancelled(self) -> None:
        self._requests.labels("cancelled").inc()

    def error(self, code: str) -> None:
        """A request was answered with this error."""
        self._errors.labels(code).inc()

    # --- steps -------------------------------------------------------------------------------

    def step(self, stats: StepStats) -> None:
        self._steps.inc()
        self._left_out.inc(stats.left_out)
        self._prompt_computed.inc(stats.prefill_tokens)
        self._running.set(stats.running)
        self._waiting.set(stats.waiting)
        self._kv_used.set(stats.kv_cells_used)
        self._kv_usage.set(stats.kv_cells_used / self._num_kv_cells)
        self._preemptions.inc(stats.preempted - self._last_preempted)
        self._evictions.inc(stats.evicted - self._last_evicted)
        self._last_preempted, self._last_evicted = stats.preempted, stats.evicted
        self._host_bytes.set(stats.host_bytes)
        self._host_limit.set(stats.host_limit_bytes)
        self._host_entries.set(stats.host_entries)
        self._host_hits.inc(stats.host_restored_tokens - self._last_host_hits)
        self._host_failures.inc(stats.host_failed_restores - self._last_host_failures)
        self._last_host_hits = stats.host_restored_tokens
        self._last_host_failures = stats.host_failed_restores
        if stats.prefill_tokens > self._largest_prefill:
            self._largest_prefill = stats.prefill_tokens
            self._prefill_max.set(stats.prefill_tokens)
        for phase, seconds in zip(PHASES, stats.phase_seconds, strict=True):
            self._phase[phase].inc(seconds)

    # --- the engine --------------------------------------------------------------------------

    def ready(self, facts: ModelFacts) -> None:
        self._num_kv_cells = facts.num_kv_cells
        self._kv_total.set(facts.num_kv_cells)
        for stage, seconds in facts.load_seconds.items():
            self._load_seconds.labels(stage).set(seconds)
        self._last_preempted = self._last_evicted = 0
        self._last_host_hits = self._last_host_failures = 0
        self._prefix_reuse.clear()
        if facts.generates:
            self._prefix_reuse.labels(facts.memory_kind).set(0 if facts.prefix_reuse else 1)

    def lost(self, cause: str) -> None:
        self._restarts.labels(cause).inc()
        for gauge in (self._running, self._waiting, self._kv_used, self._kv_usage):
            gauge.set(0)
        for gauge in (self._host_bytes, self._host_entries):
            gauge.set(0)

    # --- series ------------------------------------------------------------------------------

    def _request_series(self) -> None:
        self._requests = self._counter("requests", "Requests that ended.", "finished_reason")
        self._errors = self._counter("errors", "Requests answered with an error.", "code")
        for reason in _ENDS:  # a series that appears with its first event has no rate for it
            self._requests.labels(reason)
        for code in REQUEST_ERRORS:
            self._errors.labels(code)
        self._prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts that started.")
        self._prefix_hits = self._counter(
            "prefix_cache_hit_tokens", "Prompt tokens taken from another sequence."
        )
        self._time_to_first_token = self._seconds(
            "time_to_first_token_seconds", "From submission to the first token."
        )
        self._inter_token = self._seconds(
            "inter_token_latency_seconds", "Between two tokens of one sequence."
        )
        self._queue_time = self._seconds("request_queue_time_seconds", "Waiting for a slot.")
        self._prefill_time = self._seconds(
            "request_prefill_time_seconds", "From the slot to the first token."
        )
        self._decode_time = self._seconds(
            "request_decode_time_seconds", "From the first token to the last."
        )
        self._e2e_time = self._seconds(
            "e2e_request_latency_seconds", "From submission to the last token."
        )
        self._prompt_length = self._tokens("request_prompt_tokens", "Tokens of a prompt.")
        self._generation_length = self._tokens("request_generation_tokens", "Tokens of an answer.")

    def _step_series(self) -> None:
        self._steps = self._counter("steps", "Steps of the engine.")
        self._left_out = self._counter("steps_left_out", "Running streams a step left out.")
        self._prompt_computed = self._counter("prompt_tokens_computed", "Prompt tokens computed.")
        self._generated = self._counter("generation_tokens", "Tokens generated.")
        self._preemptions = self._counter("preemptions", "Sequences that lost their slot.")
        self._evictions = self._counter("evictions", "Idle prefixes forgotten.")
        seconds = self._counter("step_seconds", "Time of steps by phase.", "phase")
        self._phase = {phase: seconds.labels(phase) for phase in PHASES}
        self._prefill_max = self._gauge(
            "step_prefill_tokens_max", "The most prompt tokens computed in one step."
        )
        self._largest_prefill = 0
        self._running = self._gauge("num_requests_running", "Sequences that have a slot.")
        self._waiting = self._gauge("num_requests_waiting", "Sequences that wait for a slot.")
        self._kv_used = self._gauge("kv_cells_used", "KV cells in use, idle prefixes included.")
        self._kv_usage = self._gauge("kv_cache_usage_ratio", "KV cells in use, 0 to 1.")
        self._num_kv_cells = 1

    def _host_series(self) -> None:
        self._host_bytes = self._gauge("host_cache_bytes", "Evicted prefixes in host memory.")
        self._host_limit = self._gauge("host_cache_limit_bytes", "The most that may be.")
        self._host_entries = self._gauge("host_cache_entries", "How many prefixes they are.")
        self._host_hits = self._counter(
            "host_cache_restored_tokens", "Prompt tokens restored from host memory."
        )
        self._host_failures = self._counter(
            "host_cache_failed_restores", "Prefixes computed again: they could not be restored."
        )

    def _engine_series(self) -> None:
        self._prefix_reuse = self._gauge(
            "prefix_reuse", "Whether prefixes are reused, by kind of model memory.", "memory"
        )
        self._kv_total = self._gauge("kv_cells_total", "KV cells there are.")
        self._restarts = self._counter("engine_restarts", "Engines lost.", "cause")
        for cause in _CAUSES:
            self._restarts.labels(cause)
        self._load_seconds = self._gauge("load_seconds", "Time of the last load.", "stage")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self.registry)

    def _seconds(self, name: str, text: str) -> Histogram:
        return Histogram(_PREFIX + name, text, registry=self.registry, buckets=_SECONDS)

    def _tokens(self, name: str, text: str) -> Histogram:
        return Histogram(_PREFIX + name, text, registry=self.registry, buckets=_TOKENS)
