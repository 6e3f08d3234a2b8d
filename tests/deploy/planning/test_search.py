"""What is chosen, and what gives first where nothing fits whole."""

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_deploy.planning.ask import Ask, Offer
from gguf_deploy.planning.calibration import CUDA_CONTEXT_BYTES, headroom_bytes
from gguf_deploy.planning.search import Found, Measure, search
from gguf_server.knobs import Knobs
from gguf_server.models.blueprint import Blueprint
from gguf_server.models.measurement import Measurement
from tests.deploy.planning.fakes import GIB, LARGE, LAYERS, MIDDLE, SMALL, blueprint, gpu, measure


def ask(*offers: Offer, **about: object) -> Ask:
    default = Ask(offers=offers, knobs=Knobs(slots=1), host_bytes=64 * GIB)
    return replace(default, **about)  # type: ignore[arg-type]


def plan(models: list[Blueprint] | Blueprint, asked: Ask, by: Measure = measure) -> Found:
    return search(models if isinstance(models, list) else [models], asked, by)


def chosen(found: Found) -> str:
    assert found.chosen is not None
    return found.chosen.offer.name


OFFERS = tuple(Offer(each, count) for each in (SMALL, MIDDLE, LARGE) for count in (1, 2, 4))


@pytest.mark.parametrize(
    ("gibibytes", "prefer", "name"),
    [
        (4, "smallest", "1 x small"),
        (18, "smallest", "1 x middle"),
        (60, "smallest", "1 x large"),
        (100, "smallest", "2 x large"),
        (18, "cost", "1 x large"),
        (10, "cost", "1 x large"),
        (4, "cost", "1 x small"),
        (4, "speed", "1 x large"),
    ],
)
def test_of_the_offers_that_fit_the_preferred_one_is_chosen(
    gibibytes: float, prefer: str, name: str
) -> None:
    found = plan(blueprint(gibibytes), ask(*OFFERS, prefer=prefer))
    assert chosen(found) == name
    assert found.chosen is not None
    assert found.chosen.changes == ()
    assert [trial.offer for trial in found.trials] == list(OFFERS)


def test_what_llama_cpp_does_not_count_is_added_by_name() -> None:
    [trial] = plan(blueprint(4), ask(Offer(SMALL, 1))).trials
    [need] = trial.gpus
    assert [part.name for part in need.parts] == [
        "weights",
        "KV cache",
        "compute",
        "CUDA context",
        "headroom",
    ]
    counted = trial.measurement.devices[0].num_bytes
    assert need.num_bytes == counted + CUDA_CONTEXT_BYTES + headroom_bytes(SMALL.memory_bytes)


def test_experts_of_as_few_layers_as_will_do_go_to_the_cpu_if_that_is_allowed() -> None:
    mixture, offer = blueprint(30, experts=8), Offer(MIDDLE, 1)
    found = plan(mixture, ask(offer, allow_cpu_experts=True))
    assert found.chosen is not None
    count = found.chosen.knobs.n_cpu_moe
    [change] = found.chosen.changes
    assert change.startswith(f"experts of {count} of 20 layers on the CPU: ")
    fewer = msgspec.structs.replace(found.chosen.knobs, n_cpu_moe=count - 1)
    again = plan(mixture, ask(offer, knobs=fewer, host_bytes=0))
    assert not again.trials[0].fits
    assert found.chosen.knobs.n_gpu_layers == -1


def test_experts_stay_where_nobody_allowed_them_to_go_and_layers_give() -> None:
    found = plan(blueprint(30, experts=8), ask(Offer(MIDDLE, 1)))
    assert found.chosen is not None
    assert found.chosen.knobs.n_cpu_moe == 0
    layers = found.chosen.knobs.n_gpu_layers
    assert 0 < layers <= LAYERS
    [change] = found.chosen.changes
    assert change.startswith(f"{LAYERS + 1 - layers} of 20 layers on the CPU: ")
    assert change.endswith("and slow")


def test_without_room_on_the_host_the_context_gives() -> None:
    knobs = Knobs(slots=8, context_tokens=32_768)
    found = plan(blueprint(12), ask(Offer(MIDDLE, 1), knobs=knobs, host_bytes=3 * GIB))
    assert found.chosen is not None
    assert found.chosen.knobs.context_tokens == 8192
    assert found.chosen.changes == ("8192 tokens of context instead of 32768",)


def test_where_nothing_gives_enough_nothing_is_chosen_and_the_offers_are_as_they_are() -> None:
    found = plan(blueprint(500), ask(*OFFERS, host_bytes=GIB, allow_cpu_experts=True))
    assert found.chosen is None
    assert [trial.offer for trial in found.trials] == list(OFFERS)
    assert all(trial.knobs == Knobs(slots=1) for trial in found.trials)


def test_of_several_quantizations_the_best_that_fits_whole_wins_before_anything_gives() -> None:
    drawn: list[str] = []

    def models() -> Iterator[Blueprint]:
        for label, size in (("Q8_0", 30), ("Q6_K", 24), ("Q4_K_M", 18), ("Q2_K", 10)):
            drawn.append(label)
            yield blueprint(size, label=label, experts=8)

    found = search(models(), ask(Offer(MIDDLE, 1), allow_cpu_experts=True), measure)
    assert found.chosen is not None
    assert found.chosen.blueprint.label == "Q4_K_M"
    assert found.chosen.changes == ("Q4_K_M instead of Q8_0, which does not fit",)
    assert drawn == ["Q8_0", "Q6_K", "Q4_K_M"], "no header is moved for nothing"


def test_where_no_quantization_fits_whole_the_best_one_gives_first() -> None:
    models = [blueprint(80, label="Q8_0", experts=8), blueprint(60, label="Q4_K_M", experts=8)]
    found = plan(models, ask(Offer(MIDDLE, 1), allow_cpu_experts=True))
    assert found.chosen is not None
    assert found.chosen.blueprint.label == "Q8_0"
    assert found.chosen.knobs.n_gpu_layers > 0, "experts alone are not enough for either"


def test_a_cpu_needs_room_for_everything_in_host_memory() -> None:
    found = plan(blueprint(10), ask(Offer(None, 0)))
    assert chosen(found) == "CPU"
    assert plan(blueprint(10), ask(Offer(None, 0), host_bytes=8 * GIB)).chosen is None


def test_a_price_that_is_unknown_is_the_last_resort_of_who_minds_the_cost() -> None:
    unknown = Offer(gpu("unknown", 24), 1)
    assert chosen(plan(blueprint(4), ask(unknown, Offer(LARGE, 1), prefer="cost"))) == "1 x large"
    assert chosen(plan(blueprint(4), ask(unknown, prefer="cost"))) == "1 x unknown"


def test_each_question_is_asked_of_llama_cpp_for_so_many_gpus_not_for_each_kind() -> None:
    asked: set[tuple[str, Knobs, int]] = set()
    times = 0

    def counted(model: Blueprint, knobs: Knobs, count: int) -> Measurement:
        nonlocal times
        times += 1
        asked.add((model.label, knobs, count))
        return measure(model, knobs, count)

    plan(blueprint(100), ask(*OFFERS), counted)
    assert len(asked) == 3 < times, "the caller remembers the answers"


def test_what_lies_on_the_host_beside_the_embeddings_is_counted_as_offloaded() -> None:
    found = plan(blueprint(30, experts=8), ask(Offer(MIDDLE, 1)))
    assert found.chosen is not None
    moved = LAYERS + 1 - found.chosen.knobs.n_gpu_layers
    layer_bytes = found.chosen.blueprint.size_bytes // (LAYERS + 1)
    assert found.chosen.offloaded_bytes == moved * layer_bytes
    speed = found.chosen.speed
    whole = search([blueprint(30, experts=8)], ask(Offer(LARGE, 1)), measure).chosen
    assert speed is not None
    assert whole is not None
    assert whole.speed is not None
    assert speed.one_stream_tokens_per_second < whole.speed.one_stream_tokens_per_second / 5


def test_one_layer_more_on_the_gpu_would_not_fit() -> None:
    model, offer = blueprint(30), Offer(MIDDLE, 1)
    found = plan(model, ask(offer))
    assert found.chosen is not None
    more = msgspec.structs.replace(
        found.chosen.knobs, n_gpu_layers=found.chosen.knobs.n_gpu_layers + 1
    )
    [need] = plan(model, ask(offer, knobs=more, host_bytes=0)).trials[0].gpus
    assert not need.fits


def test_experts_of_the_first_layers_leave_room_for_more_layers_on_the_first_gpu() -> None:
    found = plan(blueprint(100, experts=8), ask(Offer(MIDDLE, 4), allow_cpu_experts=True))
    assert found.chosen is not None
    split = found.chosen.knobs.tensor_split
    assert len(split) == 4
    assert sum(split) == LAYERS + 1
    assert split[0] > split[-1]
    assert min(split) >= 1


def test_experts_have_no_place_on_a_host_without_room() -> None:
    asked = ask(Offer(MIDDLE, 1), allow_cpu_experts=True, host_bytes=2 * GIB)
    found = plan(blueprint(30, experts=8), asked)
    assert found.chosen is None


def test_where_something_gives_the_offer_is_taken_where_least_does() -> None:
    offers = (Offer(SMALL, 1), Offer(MIDDLE, 1))
    for prefer in ("smallest", "cost"):
        assert chosen(plan(blueprint(30), ask(*offers, prefer=prefer))) == "1 x middle"


def test_layers_that_llama_cpp_does_not_count_are_placed_too() -> None:
    """Those for predicting several tokens at once: GLM and DeepSeek have one."""

    def counts_less(model: Blueprint, knobs: Knobs, count: int) -> Measurement:
        return msgspec.structs.replace(measure(model, knobs, count), num_layers=LAYERS - 1)

    same = plan(blueprint(30), ask(Offer(MIDDLE, 1)))
    found = plan(blueprint(30), ask(Offer(MIDDLE, 1)), counts_less)
    assert found.chosen is not None
    assert same.chosen is not None
    assert found.chosen.knobs == same.chosen.knobs


# --- laws --------------------------------------------------------------------------------------

SIZES = st.floats(0.1, 400)
HOSTS = st.integers(0, 400).map(lambda gibibytes: gibibytes * GIB)
PREFERENCES = st.sampled_from(["smallest", "cost", "speed"])


@given(SIZES, HOSTS, PREFERENCES, st.booleans(), st.sampled_from([0, 8]))
def test_what_is_chosen_fits_and_says_what_gave(
    gibibytes: float, host: int, prefer: str, allow: bool, experts: int
) -> None:
    asked = ask(*OFFERS, host_bytes=host, prefer=prefer, allow_cpu_experts=allow)
    found = plan(blueprint(gibibytes, experts=experts), asked)
    if found.chosen is None:
        assert not any(trial.fits for trial in found.trials)
        return
    assert found.chosen.fits
    assert found.chosen in found.trials
    assert bool(found.chosen.changes) == (found.chosen.knobs != asked.knobs)
    assert allow or found.chosen.knobs.n_cpu_moe == 0


@given(SIZES, HOSTS, st.integers(0, len(OFFERS) - 1))
def test_one_offer_more_never_makes_it_fit_worse(gibibytes: float, host: int, index: int) -> None:
    fewer = (*OFFERS[:index], *OFFERS[index + 1 :])
    model = blueprint(gibibytes)
    with_all = plan(model, ask(*OFFERS, host_bytes=host))
    with_fewer = plan(model, ask(*fewer, host_bytes=host))
    if with_fewer.chosen is not None:
        assert with_all.chosen is not None
        assert bool(with_all.chosen.changes) <= bool(with_fewer.chosen.changes)
