"""A plan is a file that says what it is, and is refused when it is something else."""

import json

import pytest

from gguf_server.errors import InvalidPlan
from gguf_server.models.placement import dumps, loads
from tests.deploy.placements import ALL, moe_on_l40s


def refusal(text: str) -> str:
    with pytest.raises(InvalidPlan) as caught:
        loads(text)
    message = caught.value.message
    assert "\n" not in message
    assert message.endswith("make it anew: gguf-deploy plan MODEL --format json")
    return message


def changed(**fields: object) -> str:
    return json.dumps(json.loads(dumps(moe_on_l40s())) | fields)


@pytest.mark.parametrize("placement", ALL)
def test_what_is_written_is_read_back(placement) -> None:
    assert loads(dumps(placement())) == placement()


def test_it_is_json_for_people_and_says_its_version() -> None:
    text = dumps(moe_on_l40s())
    assert text.startswith('{\n  "version": 1,\n')
    assert text.endswith("}\n")


@pytest.mark.parametrize("version", [0, 2, -1])
def test_another_version_is_refused(version: int) -> None:
    assert f"of version {version}, and this gguf-server knows 1" in refusal(
        changed(version=version)
    )


def test_of_another_version_nothing_else_is_looked_at() -> None:
    assert "of version 2" in refusal('{"version": 2, "model": "of another shape"}')


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "truncated"),
        ("model: yaml", "malformed"),
        (dumps(moe_on_l40s())[:-20], "truncated"),
        ("[]", "array"),
        ("{}", "version"),
        ('{"version": "1"}', "version"),
        ('{"version": 1}', "llama_cpp"),
        (changed(model={"reference": "a/b"}), "$.model"),
        (changed(knobs={"slots": "many"}), "$.knobs.slots"),
        ('{"version": 1, "x": ' + "[" * 100_000, "recursion"),
        ('{"version": 1, "x": "\ud800"}', "surrogates"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_reason(text: str, reason: str) -> None:
    message = refusal(text)
    assert message.startswith("this is no plan (")
    assert reason in message


def test_fields_of_others_are_left_alone() -> None:
    assert loads(changed(note="by hand")) == moe_on_l40s()
