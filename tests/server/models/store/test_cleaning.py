"""What may go: by the user's rules, and never what must stay."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_server.models.store.cleaning import Rest, Rules, Verdict, judge
from gguf_server.models.store.manifest import Manifest, StoredModel
from gguf_server.models.store.revision import Revision

NOW = 2_000_000_000.0
DAY = 86_400.0
NOBODY: frozenset[str] = frozenset()
LABELS = ("Q8_0", "Q6_K", "Q4_K_M")
REPOSITORIES = ("org/a", "org/b")


def revision(
    *labels: str,
    repository: str = "org/a",
    commit: str = "c",
    used_days_ago: float = 100,
    fetched_days_ago: float | None = None,
) -> Revision:
    named = {} if fetched_days_ago is None else {"main": NOW - fetched_days_ago * DAY}
    models = tuple(StoredModel(label, (f"{label}.gguf",), 1000) for label in labels)
    manifest = Manifest(
        repository=repository, commit=commit, revisions=named, listing=(), models=models, files=()
    )
    return Revision(Path("/models", repository, commit), manifest, NOW - used_days_ago * DAY)


def name(verdict: Verdict) -> str:
    assert verdict.revision is not None
    assert verdict.model is not None
    return f"{verdict.revision.manifest.commit}:{verdict.model.label}"


def said(
    revisions: Sequence[Revision], rules: Rules, busy: frozenset[str] = NOBODY
) -> dict[str, str]:
    """``goes: why`` or ``stays: why``, by commit and label."""
    found = judge(revisions, [], busy, rules, NOW)
    return {name(each): f"{'goes' if each.goes else 'stays'}: {each.why}" for each in found}


def test_without_a_rule_every_model_stays() -> None:
    assert said([revision("Q8_0", "F16")], Rules()) == {
        "c:Q8_0": "stays: no rule says it should go",
        "c:F16": "stays: no rule says it should go",
    }


def test_quantizations_other_than_those_to_keep_go_however_they_are_spelled() -> None:
    assert said(
        [revision("Q8_0", "Q4_K_M", "F16")], Rules(keep_quantizations=("q8_0", "fp16"))
    ) == {
        "c:Q8_0": "stays: no rule says it should go",
        "c:Q4_K_M": "goes: is not F16 or Q8_0",
        "c:F16": "stays: no rule says it should go",
    }


def test_a_model_whose_name_says_no_quantization_stays() -> None:
    assert said([revision("")], Rules(keep_quantizations=("Q8_0",))) == {
        "c:": "stays: no rule says it should go"
    }


def test_a_plain_name_keeps_the_dynamic_quantization_that_it_means_elsewhere() -> None:
    rules = Rules(keep_quantizations=("Q4_K_XL",))
    assert said([revision("UD-Q4_K_XL")], rules)["c:UD-Q4_K_XL"].startswith("stays")
    rules = Rules(keep_quantizations=("UD-Q4_K_XL",))
    assert said([revision("Q4_K_XL")], rules)["c:Q4_K_XL"].startswith("goes")


def test_older_revisions_than_the_newest_few_go_of_each_repository() -> None:
    here = [
        revision("Q8_0", commit="old", fetched_days_ago=50),
        revision("Q8_0", commit="new", fetched_days_ago=40),
        revision("Q8_0", commit="other", repository="org/b", fetched_days_ago=90),
    ]
    assert said(here, Rules(keep_revisions=1)) == {
        "old:Q8_0": "goes: is not among the newest 1",
        "new:Q8_0": "stays: no rule says it should go",
        "other:Q8_0": "stays: no rule says it should go",
    }


def test_a_pinned_revision_counts_from_its_last_use() -> None:
    here = [
        revision("Q8_0", commit="named", fetched_days_ago=50),
        revision("Q8_0", commit="pinned", used_days_ago=10),
    ]
    assert said(here, Rules(keep_revisions=1))["named:Q8_0"].startswith("goes")


def test_what_was_last_used_longer_ago_goes() -> None:
    here = [
        revision("Q8_0", commit="old", used_days_ago=31),
        revision("Q8_0", commit="new", used_days_ago=29),
    ]
    assert said(here, Rules(older_than_seconds=30 * DAY)) == {
        "old:Q8_0": "goes: was last used 31 days ago",
        "new:Q8_0": "stays: was used since then",
    }


def test_an_age_restricts_the_other_rules() -> None:
    here = [
        revision("Q8_0", "Q4_K_M", commit="old", used_days_ago=31),
        revision("Q8_0", "Q4_K_M", commit="new", used_days_ago=29),
    ]
    rules = Rules(keep_quantizations=("Q8_0",), older_than_seconds=30 * DAY)
    assert said(here, rules) == {
        "old:Q8_0": "stays: is one of those to keep",
        "old:Q4_K_M": "goes: is not Q8_0 and was last used 31 days ago",
        "new:Q8_0": "stays: was used since then",
        "new:Q4_K_M": "stays: was used since then",
    }


def test_what_was_used_lately_or_is_being_fetched_stays_whatever_the_rules_say() -> None:
    rules = Rules(keep_quantizations=("F32",), keep_revisions=1, older_than_seconds=0)
    here = [revision("Q8_0", commit="lately", used_days_ago=0.9), revision("Q8_0")]
    assert said(here, rules)["lately:Q8_0"] == "stays: was used within a day"
    assert said(here, rules, busy=frozenset({"org/a"}))["c:Q8_0"] == "stays: is being fetched"


@pytest.mark.parametrize(("days_ago", "goes"), [(0.9, False), (1.1, True)])
def test_a_rest_goes_when_nobody_went_on_with_it(days_ago: float, goes: bool) -> None:
    rest = Rest(Path("/models/org/a/.partial/x"), 1000, NOW - days_ago * DAY)
    [verdict] = judge([], [rest], NOBODY, Rules(), NOW)
    assert (verdict.goes, verdict.rest) == (goes, rest)


# --- laws --------------------------------------------------------------------------------------

DAYS = st.floats(0, 400)
REVISIONS = st.lists(
    st.builds(
        lambda labels, repository, used, fetched: revision(
            *labels, repository=repository, used_days_ago=used, fetched_days_ago=fetched
        ),
        st.lists(st.sampled_from(LABELS), unique=True, min_size=1),
        st.sampled_from(REPOSITORIES),
        DAYS,
        st.none() | DAYS,
    ),
    max_size=8,
)
RULES = st.builds(
    Rules,
    st.lists(st.sampled_from(LABELS), unique=True).map(tuple),
    st.none() | st.integers(1, 4),
    st.none() | DAYS.map(lambda days: days * DAY),
)
BUSY = st.frozensets(st.sampled_from(REPOSITORIES))


@given(REVISIONS, RULES, BUSY)
def test_what_must_stay_never_goes(
    revisions: list[Revision], rules: Rules, busy: frozenset[str]
) -> None:
    verdicts = judge(revisions, [], busy, rules, NOW)
    assert len(verdicts) == sum(len(each.manifest.models) for each in revisions)
    for each in verdicts:
        assert each.why
        assert each.revision is not None
        assert each.model is not None
        idle_seconds = NOW - each.revision.last_used
        must_stay = (
            each.revision.manifest.repository in busy
            or idle_seconds < DAY
            or rules == Rules()
            or (rules.older_than_seconds is not None and idle_seconds <= rules.older_than_seconds)
            or (rules.keep_revisions is None and each.model.label in rules.keep_quantizations)
        )
        assert not (each.goes and must_stay), each.why


@given(REVISIONS, st.integers(1, 4))
def test_the_newest_revisions_of_each_repository_are_kept(
    revisions: list[Revision], count: int
) -> None:
    verdicts = judge(revisions, [], NOBODY, Rules(keep_revisions=count), NOW)
    for repository in {each.manifest.repository for each in revisions}:
        kept = [
            each.revision.directory
            for each in verdicts
            if each.revision and each.revision.manifest.repository == repository and not each.goes
        ]
        there = sum(each.manifest.repository == repository for each in revisions)
        assert len(kept) >= min(count, there)


@given(REVISIONS, RULES, st.sampled_from(LABELS))
def test_to_keep_one_more_never_makes_another_go(
    revisions: list[Revision], rules: Rules, label: str
) -> None:
    if not rules.keep_quantizations:
        return  # the first one makes the others go
    more = Rules((*rules.keep_quantizations, label), rules.keep_revisions, rules.older_than_seconds)
    before = judge(revisions, [], NOBODY, rules, NOW)
    after = judge(revisions, [], NOBODY, more, NOW)
    assert all(old.goes for old, new in zip(before, after, strict=True) if new.goes)
