from tests.bench.metrics import between, load_seconds, samples, steps

EXPOSITION = """\
# HELP gguf_server_steps_total Steps.
# TYPE gguf_server_steps_total counter
gguf_server_steps_total 200.0
gguf_server_step_seconds_total{phase="schedule"} 0.02
gguf_server_step_seconds_total{phase="fill"} 0.04
gguf_server_step_seconds_total{phase="decode"} 9.0
gguf_server_step_seconds_total{phase="sample"} 0.5
gguf_server_step_seconds_total{phase="text"} 0.06
gguf_server_prompt_tokens_computed_total 1.504e+03
gguf_server_step_prefill_tokens_max 128.0
gguf_server_steps_left_out_total 0.0
"""


def test_steps_are_read_per_step_in_milliseconds() -> None:
    seen = steps(EXPOSITION)
    assert seen is not None
    assert seen.num_steps == 200
    assert seen.num_prompt_tokens_computed == 1504
    assert seen.num_prefill_tokens_max == 128
    assert seen.phase_ms["decode"] == 45.0


def test_our_python_is_everything_but_decode_and_sample() -> None:
    seen = steps(EXPOSITION)
    assert seen is not None
    assert round(seen.python_ms, 6) == 0.6


def test_a_server_without_steps_has_none() -> None:
    assert steps("process_cpu_seconds_total 1.5\n") is None
    assert samples("# nothing\n\n") == {}


def test_between_two_scrapes_only_what_was_added_counts() -> None:
    before = samples(EXPOSITION)
    after = before | {
        "gguf_server_steps_total": 210.0,
        'gguf_server_step_seconds_total{phase="sample"}': 0.7,
    }
    seen = between(before, after)
    assert seen is not None
    assert (seen.num_steps, round(seen.phase_ms["sample"], 6)) == (10, 20.0)
    assert seen.phase_ms["decode"] == 0.0
    assert seen.num_prefill_tokens_max == 128  # a largest number has no difference
    assert between(before, before) is None


def test_the_last_load_is_read_by_stage() -> None:
    lines = ('gguf_server_load_seconds{stage="weights"} 1.5', "gguf_server_load_seconds_other 2")
    assert load_seconds("\n".join(lines)) == {"weights": 1.5}
    assert load_seconds(EXPOSITION) == {}
