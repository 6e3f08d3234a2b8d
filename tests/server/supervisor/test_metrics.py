"""What Prometheus sees, folded from the engine's messages."""

import asyncio
from itertools import pairwise

import pytest
from msgspec.structs import replace

from gguf_server.errors import REQUEST_ERRORS
from gguf_server.supervisor.generation import Generation
from gguf_server.supervisor.metrics import Metrics
from gguf_server.supervisor.series import GAP_SECONDS, REQUEST_SECONDS
from gguf_server.wire.messages import PHASES, Constraint, SamplingParams, Submit
from tests.facts import FACTS, STATS


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"gguf_server_{name}", labels)


def test_two_servers_in_one_process_do_not_share_series() -> None:
    one, other = Metrics(), Metrics()
    one.error("queue_full")
    assert value(one, "errors_total", code="queue_full") == 1
    assert value(other, "errors_total", code="queue_full") == 0


def test_every_labelled_series_is_there_before_its_first_event() -> None:
    metrics = Metrics()
    for reason in ("stop", "length", "cancelled", "error"):
        assert value(metrics, "requests_total", finished_reason=reason) == 0
    for cause in ("crash", "stall"):
        assert value(metrics, "engine_restarts_total", cause=cause) == 0
    for code in REQUEST_ERRORS:
        assert value(metrics, "errors_total", code=code) == 0
    for kind in ("json_schema", "gbnf", "lark"):
        assert value(metrics, "constrained_requests_total", kind=kind) == 0
    for stage in ("start", "weights", "context", "warmup"):
        assert value(metrics, "load_seconds", stage=stage) == 0
    for phase in PHASES:
        assert value(metrics, "step_seconds_total", phase=phase) == 0


def test_steps_add_up_and_gauges_follow_the_last_one() -> None:
    metrics = Metrics()
    metrics.ready(FACTS)
    metrics.step(STATS)
    last = replace(STATS, prefill_tokens=10, running=1, waiting=0, kv_cells_used=100)
    metrics.step(replace(last, host_bytes=5, host_limit_bytes=10, host_entries=1))
    assert value(metrics, "steps_total") == 2
    assert value(metrics, "prompt_tokens_computed_total") == 40
    assert value(metrics, "step_prefill_tokens_max") == 30
    assert value(metrics, "step_tokens_sum") == 2 + 30 + 2 + 10
    assert value(metrics, "steps_left_out_total") == 0
    assert value(metrics, "num_requests_running") == 1
    assert value(metrics, "num_requests_waiting") == 0
    assert value(metrics, "kv_cells_used") == 100
    assert value(metrics, "host_cache_bytes") == 5
    assert value(metrics, "host_cache_limit_bytes") == 10
    assert value(metrics, "host_cache_entries") == 1
    assert value(metrics, "kv_cache_usage_ratio") == 0.5


def test_what_was_cancelled_since_the_last_step_no_longer_runs_once_the_engine_is_idle() -> None:
    metrics = Metrics()
    metrics.step(STATS)
    assert value(metrics, "num_requests_running") == STATS.running > 0
    metrics.idle()
    assert value(metrics, "num_requests_running") == 0
    assert value(metrics, "num_requests_waiting") == 0
    assert value(metrics, "kv_cells_used") == STATS.kv_cells_used


@pytest.mark.parametrize("phase", PHASES)
def test_seconds_of_a_step_go_to_their_phase(phase: str) -> None:
    metrics = Metrics()
    metrics.step(STATS)
    assert value(metrics, "step_seconds_total", phase=phase) == getattr(STATS, f"{phase}_seconds")


def test_totals_of_the_engine_are_counted_once_and_start_anew_with_a_new_engine() -> None:
    metrics = Metrics()
    metrics.ready(FACTS)
    metrics.step(replace(STATS, preempted=2, evicted=5, host_restored_tokens=70))
    metrics.step(replace(STATS, preempted=3, evicted=5, host_restored_tokens=90))
    metrics.lost("crash")
    metrics.ready(FACTS)
    metrics.step(replace(STATS, preempted=1, evicted=1, host_failed_restores=1))
    assert value(metrics, "preemptions_total") == 4
    assert value(metrics, "evictions_total") == 6
    assert value(metrics, "host_cache_restored_tokens_total") == 90
    assert value(metrics, "host_cache_failed_restores_total") == 1


def test_the_prefixes_in_host_memory_are_told_and_start_anew_with_a_new_engine() -> None:
    metrics = Metrics()
    metrics.ready(FACTS)
    stats = replace(STATS, host_bytes=7, host_limit_bytes=9, host_entries=2)
    for restored, failed in ((100, 1), (150, 1)):
        metrics.step(replace(stats, host_restored_tokens=restored, host_failed_restores=failed))
    assert value(metrics, "host_cache_bytes") == 7
    assert value(metrics, "host_cache_limit_bytes") == 9
    assert value(metrics, "host_cache_entries") == 2
    assert value(metrics, "host_cache_restored_tokens_total") == 150
    assert value(metrics, "host_cache_failed_restores_total") == 1
    metrics.lost("crash")
    assert value(metrics, "host_cache_bytes") == 0
    metrics.ready(FACTS)
    metrics.step(replace(stats, host_restored_tokens=30))
    assert value(metrics, "host_cache_restored_tokens_total") == 180


def test_whether_prefixes_are_reused_is_told_with_the_kind_of_memory() -> None:
    metrics = Metrics()
    metrics.ready(FACTS)
    assert value(metrics, "prefix_reuse", memory="attention") == 1
    metrics.ready(replace(FACTS, memory_kind="unknown", prefix_reuse="It is odd."))
    assert value(metrics, "prefix_reuse", memory="unknown") == 0
    assert value(metrics, "prefix_reuse", memory="attention") is None


def test_a_loss_is_counted_by_its_cause_and_leaves_nothing_running() -> None:
    metrics = Metrics()
    metrics.ready(FACTS)
    metrics.step(STATS)
    metrics.lost("stall")
    assert value(metrics, "engine_restarts_total", cause="stall") == 1
    for gauge in ("num_requests_running", "num_requests_waiting", "kv_cells_used"):
        assert value(metrics, gauge) == 0
    assert value(metrics, "kv_cache_usage_ratio") == 0


def test_a_load_is_told_by_stage() -> None:
    metrics = Metrics()
    metrics.ready(FACTS)
    assert value(metrics, "load_seconds", stage="weights") == 1.5
    assert value(metrics, "load_seconds", stage="warmup") == 0.5
    assert value(metrics, "kv_cells_limit") == 200


def test_the_times_of_a_request_are_measured_from_where_they_begin() -> None:
    async def story() -> Metrics:
        metrics = Metrics()
        generation = Generation(1, 100.0, lambda generation: None)
        generation.accept(40)
        generation.start(30, 102.0)
        metrics.started(generation)
        for now in (105.0, 106.0, 108.0):
            metrics.token(generation, now)
            generation.add("x", 1, now)
        metrics.finished(generation, "length", 108.0)
        return metrics

    metrics = asyncio.run(story())
    sums = {
        "request_queue_time_seconds": 2,
        "request_prefill_time_seconds": 3,
        "time_to_first_token_seconds": 5,
        "inter_token_latency_seconds": 1 + 2,
        "request_decode_time_seconds": 3,
        "e2e_request_latency_seconds": 8,
        "request_prompt_tokens": 40,
        "request_generation_tokens": 3,
    }
    assert {name: value(metrics, f"{name}_sum") for name in sums} == sums
    assert value(metrics, "inter_token_latency_seconds_count") == 2
    assert value(metrics, "prompt_tokens_total") == 40
    assert value(metrics, "generation_tokens_total") == 3
    assert value(metrics, "prefix_cache_query_tokens_total") == 40
    assert value(metrics, "prefix_cache_hit_tokens_total") == 30
    assert value(metrics, "requests_total", finished_reason="length") == 1


def test_who_left_is_counted_as_cancelled() -> None:
    metrics = Metrics()
    metrics.cancelled()
    assert value(metrics, "requests_total", finished_reason="cancelled") == 1


def test_what_a_model_cannot_reuse_is_no_miss_of_the_prefix_cache() -> None:
    metrics = Metrics()
    metrics.ready(replace(FACTS, prefix_reuse="its state cannot be cut"))
    generation = Generation(1, 100.0, lambda generation: None)
    generation.num_prompt_tokens = 40
    metrics.started(generation)
    assert value(metrics, "prompt_tokens_total") == 40
    assert value(metrics, "prefix_cache_query_tokens_total") == 0


def test_it_is_told_whether_this_kind_of_model_reuses_prefixes() -> None:
    metrics = Metrics()
    metrics.ready(FACTS)
    assert value(metrics, "prefix_reuse", memory="attention") == 1
    metrics.ready(replace(FACTS, memory_kind="recurrent", prefix_reuse="cannot be cut"))
    assert value(metrics, "prefix_reuse", memory="recurrent") == 0
    assert value(metrics, "prefix_reuse", memory="attention") is None


def test_what_people_ask_for_is_counted() -> None:
    metrics = Metrics()
    schema = Constraint("json_schema", "{}", "response_format")
    metrics.submitted(Submit(id=1, prompt="x"))
    metrics.submitted(Submit(id=2, prompt="x", constraint=schema))
    metrics.submitted(Submit(id=3, prompt="x", sampling=SamplingParams(num_logprobs=0)))
    assert value(metrics, "constrained_requests_total", kind="json_schema") == 1
    assert value(metrics, "constrained_requests_total", kind="gbnf") == 0
    assert value(metrics, "logprobs_requests_total") == 1


def test_embeddings_are_counted_by_inputs_and_tokens() -> None:
    metrics = Metrics()
    metrics.embedded(7)
    metrics.embedded(5)
    assert value(metrics, "embedding_inputs_total") == 2
    assert value(metrics, "embedding_tokens_total") == 12


def test_a_kind_of_answer_has_a_series_before_the_first_one() -> None:
    metrics = Metrics()
    count = metrics.response_counter("/v1/models", "2xx")
    labels = {"path": "/v1/models", "status": "2xx"}
    assert value(metrics, "http_responses_total", **labels) == 0
    count()
    assert value(metrics, "http_responses_total", **labels) == 1


@pytest.mark.parametrize(
    ("buckets", "shortest", "longest"),
    [(REQUEST_SECONDS, 0.01, 1000), (GAP_SECONDS, 0.002, 30)],
    ids=["requests", "gaps"],
)
def test_toys_and_full_queues_are_both_told_within_a_factor(
    buckets: tuple[float, ...], shortest: float, longest: float
) -> None:
    assert buckets[0] < shortest
    assert buckets[-1] > longest
    assert all(1 < after / before <= 2.5 for before, after in pairwise(buckets))
