"""What is measured, folded from what happens; scraping never reaches the engine.

Names follow vLLM's shapes under our own prefix. What is read at the moment of a scrape instead
comes from collectors. docs/metrics.md lists all series; a test keeps that list true.
"""

from collections.abc import Callable
from typing import get_args

from prometheus_client import disable_created_metrics, generate_latest
from prometheus_client.registry import Collector

from gguf_server.errors import REQUEST_ERRORS
from gguf_server.supervisor.generation import Generation
from gguf_server.supervisor.series import GAP_SECONDS, NUM_TOKENS, REQUEST_SECONDS, Series
from gguf_server.wire.messages import (
    PHASES,
    ConstraintKind,
    FinishReason,
    LoadStage,
    ModelFacts,
    StepStats,
    Submit,
)

_ENDS = (*get_args(FinishReason), "cancelled", "error")
_CAUSES = ("crash", "stall")


class Metrics:
    """All series of one server, in a registry of its own."""

    def __init__(self, *collectors: Collector) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each counter, which nobody reads
        self._series = Series()
        self.registry = self._series.registry
        self._request_series()
        self._time_series()
        self._step_series()
        self._memory_series()
        self._engine_series()
        for collector in collectors:
            self.registry.register(collector)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    # --- series ------------------------------------------------------------------------------

    def _request_series(self) -> None:
        counter, histogram = self._series.counter, self._series.histogram
        self._requests = counter("requests", "Sequences that ended.", finished_reason=_ENDS)
        self._errors = counter("errors", "Requests answered with an error.", code=REQUEST_ERRORS)
        self._responses = counter("http_responses", "HTTP answers sent.", path=(), status=())
        self._prompt_tokens = counter("prompt_tokens", "Tokens of prompts that started.")
        self._generated = counter("generation_tokens", "Tokens generated.")
        self._prompt_length = histogram("request_prompt_tokens", "Tokens of a prompt.", NUM_TOKENS)
        self._generation_length = histogram(
            "request_generation_tokens", "Tokens of an answer.", NUM_TOKENS
        )
        self._constrained = counter(
            "constrained_requests",
            "Sequences whose form a schema or grammar dictates.",
            kind=get_args(ConstraintKind),
        )
        self._with_logprobs = counter(
            "logprobs_requests", "Sequences asked for with log-probabilities."
        )
        self._embedded_inputs = counter("embedding_inputs", "Inputs that became vectors.")
        self._embedded_tokens = counter("embedding_tokens", "Tokens of those inputs.")

    def _time_series(self) -> None:
        histogram = self._series.histogram
        self._time_to_first_token = histogram(
            "time_to_first_token_seconds", "From submission to the first token.", REQUEST_SECONDS
        )
        self._inter_token = histogram(
            "inter_token_latency_seconds", "Between two tokens of one sequence.", GAP_SECONDS
        )
        self._queue_time = histogram(
            "request_queue_time_seconds", "Waiting for a slot.", REQUEST_SECONDS
        )
        self._prefill_time = histogram(
            "request_prefill_time_seconds", "From the slot to the first token.", REQUEST_SECONDS
        )
        self._decode_time = histogram(
            "request_decode_time_seconds", "From the first token to the last.", REQUEST_SECONDS
        )
        self._e2e_time = histogram(
            "e2e_request_latency_seconds", "From submission to the last token.", REQUEST_SECONDS
        )

    def _step_series(self) -> None:
        counter, gauge = self._series.counter, self._series.gauge
        self._steps = counter("steps", "Steps of the engine.")
        self._left_out = counter("steps_left_out", "Running streams a step left out.")
        self._prompt_computed = counter("prompt_tokens_computed", "Prompt tokens computed.")
        self._step_tokens = self._series.histogram(
            "step_tokens", "Tokens computed in one step, of prompts and answers.", NUM_TOKENS
        )
        seconds = counter("step_seconds", "Time of steps by phase.", phase=PHASES)
        self._phase = {phase: seconds.labels(phase) for phase in PHASES}
        self._prefill_max = gauge(
            "step_prefill_tokens_max", "The most prompt tokens computed in one step."
        )
        self._largest_prefill = 0

    def _memory_series(self) -> None:
        counter, gauge = self._series.counter, self._series.gauge
        self._levels = {  # by field of StepStats
            "running": gauge("num_requests_running", "Sequences that have a slot."),
            "waiting": gauge("num_requests_waiting", "Sequences that wait for a slot."),
            "kv_cells_used": gauge("kv_cells_used", "KV cells in use, idle prefixes included."),
            "host_bytes": gauge("host_cache_bytes", "Evicted prefixes in host memory."),
            "host_limit_bytes": gauge(
                "host_cache_limit_bytes", "The most that the host cache may hold."
            ),
            "host_entries": gauge("host_cache_entries", "Prefixes in the host cache."),
        }
        self._totals = {  # by field of StepStats, where each engine counts from 0
            "preempted": counter("preemptions", "Sequences that lost their slot."),
            "evicted": counter("evictions", "Idle prefixes forgotten."),
            "host_restored_tokens": counter(
                "host_cache_restored_tokens", "Prompt tokens restored from host memory."
            ),
            "host_failed_restores": counter(
                "host_cache_failed_restores",
                "Prefixes computed again: they could not be restored.",
            ),
        }
        self._last_totals = dict.fromkeys(self._totals, 0)
        self._kv_limit = gauge("kv_cells_limit", "KV cells there are.")
        self._kv_usage = gauge("kv_cache_usage_ratio", "KV cells in use, 0 to 1.")
        self._num_kv_cells = 1
        self._prefix_queries = counter(
            "prefix_cache_query_tokens", "Prompt tokens looked for among computed prefixes."
        )
        self._prefix_hits = counter(
            "prefix_cache_hit_tokens", "Prompt tokens taken from another sequence."
        )
        self._prefix_reuse = gauge(
            "prefix_reuse", "Whether prefixes are reused, by kind of model memory.", memory=()
        )
        self._reuses_prefixes = True

    def _engine_series(self) -> None:
        self._restarts = self._series.counter("engine_restarts", "Engines lost.", cause=_CAUSES)
        self._load_seconds = self._series.gauge(
            "load_seconds", "Time of the last load, 0 before it.", stage=get_args(LoadStage)
        )

    # --- requests ----------------------------------------------------------------------------

    def submitted(self, request: Submit) -> None:
        """A sequence was asked for: what of the API do people use?"""
        if request.constraint is not None:
            self._constrained.labels(request.constraint.kind).inc()
        if request.sampling.num_logprobs is not None:
            self._with_logprobs.inc()

    def started(self, generation: Generation) -> None:
        started_at = generation.started_at or generation.submitted_at
        self._queue_time.observe(max(0.0, started_at - generation.submitted_at))
        self._prompt_tokens.inc(generation.num_prompt_tokens)
        self._prompt_length.observe(generation.num_prompt_tokens)
        if self._reuses_prefixes:
            self._prefix_queries.inc(generation.num_prompt_tokens)
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

    def embedded(self, num_tokens: int) -> None:
        """An input of so many tokens became a vector."""
        self._embedded_inputs.inc()
        self._embedded_tokens.inc(num_tokens)

    def error(self, code: str) -> None:
        """A request was answered with this error."""
        self._errors.labels(code).inc()

    def response_counter(self, path: str, status: str) -> Callable[[], None]:
        """What to call for each answer of this kind; few kinds, known when the server starts."""
        return self._responses.labels(path, status).inc

    # --- steps -------------------------------------------------------------------------------

    def step(self, stats: StepStats) -> None:
        self._steps.inc()
        self._left_out.inc(stats.left_out)
        self._prompt_computed.inc(stats.prefill_tokens)
        self._step_tokens.observe(stats.decode_tokens + stats.prefill_tokens)
        self._kv_usage.set(stats.kv_cells_used / self._num_kv_cells)
        for field, gauge in self._levels.items():
            gauge.set(getattr(stats, field))
        for field, counter in self._totals.items():
            total = getattr(stats, field)
            counter.inc(total - self._last_totals[field])
            self._last_totals[field] = total
        if stats.prefill_tokens > self._largest_prefill:
            self._largest_prefill = stats.prefill_tokens
            self._prefill_max.set(stats.prefill_tokens)
        for phase, seconds in zip(PHASES, stats.phase_seconds, strict=True):
            self._phase[phase].inc(seconds)

    def idle(self) -> None:
        """No step tells that what was cancelled since the last one is gone."""
        for field in ("running", "waiting"):
            self._levels[field].set(0)

    # --- the engine --------------------------------------------------------------------------

    def ready(self, facts: ModelFacts) -> None:
        self._num_kv_cells = facts.num_kv_cells
        self._kv_limit.set(facts.num_kv_cells)
        self._reuses_prefixes = not facts.prefix_reuse
        self._prefix_reuse.clear()
        if facts.generates:
            self._prefix_reuse.labels(facts.memory_kind).set(self._reuses_prefixes)
        for stage, seconds in facts.load_seconds.items():
            self._load_seconds.labels(stage).set(seconds)
        self._last_totals = dict.fromkeys(self._totals, 0)

    def lost(self, cause: str) -> None:
        self._restarts.labels(cause).inc()
        for gauge in (*self._levels.values(), self._kv_usage):
            gauge.set(0)
