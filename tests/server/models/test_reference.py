"""What a user may call a model."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_server.errors import SettingsError
from gguf_server.models.reference import Reference, parse_reference

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("org/repo", Reference("org/repo")),
        (" org/repo ", Reference("org/repo")),
        ("org/repo:Q6_K", Reference("org/repo", "", "Q6_K")),
        ("org/repo@v1", Reference("org/repo", "v1")),
        ("org/repo@refs/pr/3:Q6_K", Reference("org/repo", "refs/pr/3", "Q6_K")),
        ("org/repo:sub/m.gguf", Reference("org/repo", "", "sub/m.gguf")),
        ("hf://org/repo", Reference("org/repo")),
        ("https://huggingface.co/org/repo", Reference("org/repo")),
        ("huggingface.co/org/repo/", Reference("org/repo")),
        ("hf.co/org/repo:Q4_K_M", Reference("org/repo", "", "Q4_K_M")),
        ("https://huggingface.co/org/repo/tree/v1", Reference("org/repo", "v1")),
        (
            "https://huggingface.co/org/repo/blob/main/a%20b/m.gguf?download=true",
            Reference("org/repo", "main", "a b/m.gguf"),
        ),
        (
            "https://huggingface.co/org/repo/resolve/main/m.gguf",
            Reference("org/repo", "main", "m.gguf"),
        ),
        (
            "https://huggingface.co/org/repo/tree/refs%2Fpr%2F3",
            Reference("org/repo", "refs/pr/3"),
        ),
        ("hf://org/repo.gguf", Reference("org/repo.gguf")),
        ("org/repo:a b/m.gguf", Reference("org/repo", "", "a b/m.gguf")),
        ("Org-1/Repo.2_x-GGUF", Reference("Org-1/Repo.2_x-GGUF")),
    ],
)
def test_a_reference_is_understood(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize("text", ["/m/a.gguf", "./a", "../a.gguf", "a.gguf", "sub/A.GGUF", "/dir"])
def test_what_looks_like_a_path_is_one(text: str) -> None:
    assert parse_reference(text) == Path(text)


def test_a_home_directory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_reference("~/a.gguf") == Path("/home/me/a.gguf")
    assert parse_reference("~nobody-of-that-name/a") == Path("~nobody-of-that-name/a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "repo",
        "a/b/c",
        "org/a--b",
        "org/../x",
        "org/repo@",
        "org/repo:",
        "org/re po",
        "-org/repo",
        "org/.repo",
        "org/repo@a@b",
        "org/repo@../..",
        "https://example.com/org/repo",
    ],
)
def test_what_names_no_model_is_refused_with_what_would(text: str) -> None:
    with pytest.raises(SettingsError, match=r"names no model; give org/repo, org/repo:Q6_K"):
        parse_reference(text)


def test_a_name_says_what_it_is() -> None:
    pinned = Reference("org/repo", COMMIT, "m.gguf")
    assert (pinned.is_pinned, pinned.file, pinned.quantization) == (True, "m.gguf", "")
    branch = Reference("org/repo", "", "Q6_K")
    assert (branch.is_pinned, branch.file, branch.quantization) == (False, "", "Q6_K")
    assert (branch.revision_or_default, branch.name) == ("main", "org/repo:Q6_K")


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}[A-Za-z0-9]", fullmatch=True).filter(
    lambda name: ".." not in name and "--" not in name
)


@given(
    NAMES, NAMES, st.sampled_from(["", "v1", "refs/pr/1", COMMIT]), st.sampled_from(["", "Q6_K"])
)
def test_what_is_printed_is_read_again(org: str, repo: str, revision: str, selector: str) -> None:
    reference = Reference(f"{org}/{repo}", revision, selector)
    if not (repo.lower().endswith(".gguf") and not selector):  # that would be a file's name
        assert parse_reference(str(reference)) == reference


@given(st.text(max_size=60))
def test_any_text_is_a_model_or_an_error_and_stays_in_its_place(text: str) -> None:
    try:
        parsed = parse_reference(text)
    except SettingsError:
        return
    if isinstance(parsed, Reference):
        assert ".." not in parsed.repository
        assert parsed.repository.count("/") == 1
        assert not parsed.repository.startswith("/")
