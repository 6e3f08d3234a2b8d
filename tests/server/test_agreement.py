"""A server deployed by a plan is about the plan's model; what is not as planned is told."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from gguf_server.agreement import differences, planned_bytes, read_plan
from gguf_server.errors import InvalidPlan, SettingsError
from gguf_server.knobs import Knobs
from gguf_server.models.placement import Placement, dumps
from gguf_server.settings.serve import Settings
from tests.deploy.placements import COMMIT, experts_on_cpu_with_two_gpus, moe_on_l40s

REFERENCE = f"acme/moe-8x3b-gguf@{COMMIT}:Q8_0"


def settings(plan: Path, model: str = REFERENCE, **options: object) -> Settings:
    planned = {"context": 8192} | options
    return Settings(model=model, plan=str(plan), **planned)  # type: ignore[arg-type]


@pytest.fixture
def placement() -> Placement:
    found = moe_on_l40s()
    return replace(found, knobs=Knobs(context_tokens=8192))


@pytest.fixture
def plan(tmp_path: Path, placement: Placement) -> Path:
    path = tmp_path / "plan.json"
    path.write_text(dumps(placement))
    return path


def test_without_a_plan_there_is_nothing_to_agree_with() -> None:
    assert read_plan(Settings(model="org/repo")) is None


@pytest.mark.parametrize(
    "model",
    [
        REFERENCE,
        "acme/moe-8x3b-gguf",
        "acme/moe-8x3b-gguf:q8_0",
        "acme/moe-8x3b-gguf@main",
        f"acme/moe-8x3b-gguf@{COMMIT[:8]}",
    ],
)
def test_a_plan_is_for_its_model_with_or_without_the_commit(
    plan: Path, placement: Placement, model: str
) -> None:
    assert read_plan(settings(plan, model)) == placement


@pytest.mark.parametrize(
    "model",
    [
        "acme/other",
        "/models/m.gguf",
        "acme/moe-8x3b-gguf:Q4_K_M",
        f"acme/moe-8x3b-gguf@{'f' * 40}:Q8_0",
    ],
)
def test_a_plan_for_another_model_is_refused(plan: Path, model: str) -> None:
    with pytest.raises(InvalidPlan, match=f"is for {REFERENCE}, not {model}; make one"):
        read_plan(settings(plan, model))


def test_options_that_are_not_as_planned_are_told(plan: Path, placement: Placement, caplog) -> None:
    changed = settings(plan, slots=16, cache_type_k="q8_0")
    expected = sorted(
        [
            "the plan counted with --slots 8, not 16",
            "the plan counted with --cache-type-k f16, not q8_0",
        ]
    )
    assert sorted(differences(changed, placement)) == expected
    read_plan(changed)
    assert sorted(caplog.messages) == expected


def test_a_plan_that_cannot_be_read_or_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--plan .*/nothing cannot be read"):
        read_plan(settings(tmp_path / "nothing"))
    (tmp_path / "broken").write_text("{")
    with pytest.raises(InvalidPlan, match="this is no plan"):
        read_plan(settings(tmp_path / "broken"))


def test_what_llama_cpp_counted_is_without_what_it_does_not_count() -> None:
    placement = experts_on_cpu_with_two_gpus()
    expected = tuple(sum(part.num_bytes for part in need.parts[:3]) for need in placement.devices)
    assert planned_bytes(placement) == expected
    assert all(
        num_bytes < need.num_bytes
        for num_bytes, need in zip(expected, placement.devices, strict=True)
    )


def test_of_a_list_of_quantizations_the_planned_one_will_do(plan: Path) -> None:
    assert read_plan(settings(plan, "acme/moe-8x3b-gguf", quant=("Q8_0", "Q6_K")))
    with pytest.raises(InvalidPlan):
        read_plan(settings(plan, "acme/moe-8x3b-gguf", quant=("Q6_K",)))


def test_a_file_is_the_same_by_whatever_path(
    tmp_path: Path, placement: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_file = replace(placement, model=replace(placement.model, reference=str(tmp_path / "m.gguf")))
    path = tmp_path / "plan.json"
    path.write_text(dumps(of_file))
    monkeypatch.chdir(tmp_path)
    assert read_plan(settings(path, "./m.gguf"))


def test_a_context_that_was_left_to_the_model_is_the_planned_one(
    plan: Path, placement: Placement
) -> None:
    assert differences(settings(plan, context=0), placement) == []
