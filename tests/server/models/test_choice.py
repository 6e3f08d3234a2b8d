"""Which model of a repository is chosen: real-life listings, traps, and laws."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gguf_server.errors import (
    IncompleteSplit,
    ModelTooLarge,
    NoModelFile,
    QuantizationNotFound,
    SeveralModels,
)
from gguf_server.models.candidates import rejection
from gguf_server.models.choice import Choice, Wanted, choose
from gguf_server.models.listing import RemoteFile
from gguf_server.models.quantization import LABELS, label_of, nominal_bits

GB = 1_000_000_000


def listing(sizes: Mapping[str, float]) -> list[RemoteFile]:
    """Sizes in GB."""
    return [RemoteFile(path, int(size * GB), sha256="0" * 64) for path, size in sizes.items()]


def chosen(sizes: Mapping[str, float], wanted: Wanted | None = None, **more: int) -> str:
    return choice(sizes, wanted, **more).candidate.paths[0]


def choice(sizes: Mapping[str, float], wanted: Wanted | None = None, **more: int) -> Choice:
    return choose("org/repo", listing(sizes), wanted or Wanted(), **more)


def only(*quantizations: str) -> Wanted:
    return Wanted(quantizations)


# What well-known publishers' repositories look like.
BARTOWSKI = {
    "README.md": 0,
    "Llama-3.2-3B-Instruct-IQ3_M.gguf": 1.6,
    "Llama-3.2-3B-Instruct-Q3_K_XL.gguf": 1.91,
    "Llama-3.2-3B-Instruct-Q4_0.gguf": 1.92,
    "Llama-3.2-3B-Instruct-Q4_0_4_4.gguf": 1.92,
    "Llama-3.2-3B-Instruct-Q4_K_L.gguf": 2.11,
    "Llama-3.2-3B-Instruct-Q4_K_M.gguf": 2.02,
    "Llama-3.2-3B-Instruct-Q6_K.gguf": 2.64,
    "Llama-3.2-3B-Instruct-Q6_K_L.gguf": 2.74,
    "Llama-3.2-3B-Instruct-Q8_0.gguf": 3.42,
    "Llama-3.2-3B-Instruct-f16.gguf": 6.43,
    "Llama-3.2-3B-Instruct.imatrix": 0.003,
}
UNSLOTH = {
    "BF16/Qwen3-30B-A3B-BF16-00001-of-00002.gguf": 49.9,
    "BF16/Qwen3-30B-A3B-BF16-00002-of-00002.gguf": 11.2,
    "Qwen3-30B-A3B-Q4_K_M.gguf": 18.6,
    "Qwen3-30B-A3B-Q6_K.gguf": 25.1,
    "Qwen3-30B-A3B-Q8_0.gguf": 32.5,
    "Qwen3-30B-A3B-UD-Q4_K_XL.gguf": 17.7,
    "Qwen3-30B-A3B-UD-Q8_K_XL.gguf": 36.0,
    "imatrix_unsloth.gguf": 0.13,
    "mmproj-BF16.gguf": 1.0,
    "config.json": 0,
}
DEEPSEEK = {
    f"{label}/DeepSeek-R1-{label}-{number:05}-of-00003.gguf": size
    for label, size in (("Q4_K_M", 134.0), ("Q8_0", 237.0), ("UD-Q2_K_XL", 70.0))
    for number in (1, 2, 3)
}
OFFICIAL_QWEN = {
    "qwen2.5-7b-instruct-fp16-00001-of-00004.gguf": 3.9,
    "qwen2.5-7b-instruct-fp16-00002-of-00004.gguf": 3.9,
    "qwen2.5-7b-instruct-fp16-00003-of-00004.gguf": 3.9,
    "qwen2.5-7b-instruct-fp16-00004-of-00004.gguf": 3.5,
    "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf": 4.0,
    "qwen2.5-7b-instruct-q4_k_m-00002-of-00002.gguf": 0.7,
    "qwen2.5-7b-instruct-q8_0-00001-of-00003.gguf": 4.0,
    "qwen2.5-7b-instruct-q8_0-00002-of-00003.gguf": 4.0,
    "qwen2.5-7b-instruct-q8_0-00003-of-00003.gguf": 0.1,
}
THE_BLOKE = {
    "mistral-7b-v0.1.Q2_K.gguf": 3.08,
    "mistral-7b-v0.1.Q4_K_M.gguf": 4.37,
    "mistral-7b-v0.1.Q5_K_M.gguf": 5.13,
    "mistral-7b-v0.1.Q6_K.gguf": 5.94,
    "mistral-7b-v0.1.Q8_0.gguf": 7.7,
}
MRADERMACHER = {
    "Tiny.i1-IQ1_S.gguf": 1.7,
    "Tiny.i1-Q4_K_M.gguf": 4.9,
    "Tiny.i1-Q6_K.gguf": 6.6,
    "Tiny.imatrix.gguf": 0.005,
    "imatrix.dat": 0.005,
}
GPT_OSS = {
    "gpt-oss-20b-F16.gguf": 13.8,
    "gpt-oss-20b-Q4_K_M.gguf": 11.6,
    "gpt-oss-20b-Q8_0.gguf": 12.1,
    "gpt-oss-20b-UD-Q4_K_XL.gguf": 11.9,
}
GGML_ORG = {
    "gemma-3-4b-it-Q4_K_M.gguf": 2.5,
    "gemma-3-4b-it-Q8_0.gguf": 4.1,
    "mmproj-model-f16.gguf": 0.9,
}
FOLDERS = {"Q8_0/model.gguf": 8.5, "Q4_K_M/model.gguf": 4.9, "F16/model.gguf": 16.0}


@pytest.mark.parametrize(
    ("sizes", "wanted", "path"),
    [
        (BARTOWSKI, Wanted(), "Llama-3.2-3B-Instruct-Q8_0.gguf"),
        (BARTOWSKI, only("q6_k_l"), "Llama-3.2-3B-Instruct-Q6_K_L.gguf"),
        (BARTOWSKI, only("fp16"), "Llama-3.2-3B-Instruct-f16.gguf"),
        (BARTOWSKI, only("Q5_K_M", "Q4_K_M"), "Llama-3.2-3B-Instruct-Q4_K_M.gguf"),
        (UNSLOTH, Wanted(), "Qwen3-30B-A3B-Q8_0.gguf"),
        (UNSLOTH, only("BF16"), "BF16/Qwen3-30B-A3B-BF16-00001-of-00002.gguf"),
        (UNSLOTH, only("UD-Q4_K_XL"), "Qwen3-30B-A3B-UD-Q4_K_XL.gguf"),
        (UNSLOTH, only("Q4_K_XL"), "Qwen3-30B-A3B-UD-Q4_K_XL.gguf"),
        (DEEPSEEK, Wanted(), "Q8_0/DeepSeek-R1-Q8_0-00001-of-00003.gguf"),
        (OFFICIAL_QWEN, Wanted(), "qwen2.5-7b-instruct-q8_0-00001-of-00003.gguf"),
        (OFFICIAL_QWEN, only("F16"), "qwen2.5-7b-instruct-fp16-00001-of-00004.gguf"),
        (THE_BLOKE, Wanted(), "mistral-7b-v0.1.Q8_0.gguf"),
        (MRADERMACHER, Wanted(), "Tiny.i1-Q6_K.gguf"),
        (GPT_OSS, Wanted(), "gpt-oss-20b-Q8_0.gguf"),
        (GGML_ORG, Wanted(), "gemma-3-4b-it-Q8_0.gguf"),
        (FOLDERS, Wanted(), "Q8_0/model.gguf"),
        ({"ggml-model.gguf": 4.0}, Wanted(), "ggml-model.gguf"),
        ({"gpt-oss-20b-mxfp4.gguf": 12.0}, only("MXFP4_MOE"), "gpt-oss-20b-mxfp4.gguf"),
    ],
)
def test_the_right_file_of_a_well_known_repository_is_chosen(
    sizes: Mapping[str, float], wanted: Wanted, path: str
) -> None:
    assert chosen(sizes, wanted) == path


@pytest.mark.parametrize(
    "path",
    [
        "mmproj-Q8_0.gguf",
        "mmproj-model-f16.gguf",
        "model.mmproj.Q8_0.gguf",
        "Q8_0/mmproj.gguf",
        "mtp-model-Q8_0.gguf",
        "eagle3-Q8_0.gguf",
        "dflash-model-Q8_0.gguf",
        "imatrix_unsloth.gguf",
        "model.imatrix.gguf",
        "imatrix.dat",
        "adapter-lora-Q8_0.gguf",
        "ggml-vocab-llama.gguf",
        "model-Q4_0_4_8.gguf",
        "model.Q8_0.gguf-split-a",
        "model.Q8_0.gguf.part1of2",
        "README.md",
    ],
)
def test_what_is_no_model_is_never_chosen(path: str) -> None:
    assert rejection(path)
    with pytest.raises(NoModelFile):
        choice({path: 5.0})
    assert chosen({path: 5.0, "model-Q2_K.gguf": 3.0}) == "model-Q2_K.gguf"


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("a-Q4_K_M.gguf", "Q4_K_M"),
        ("a.q8_0.gguf", "Q8_0"),
        ("a_Q8_0_imat.gguf", "Q8_0"),
        ("a-BF16.gguf", "BF16"),
        ("a-F16-Q6_K.gguf", "Q6_K"),
        ("Q8_0/a-00001-of-00002.gguf", "Q8_0"),
        ("Q8_0/a-Q4_0.gguf", "Q4_0"),
        ("a-UD-IQ2_XXS.gguf", "UD-IQ2_XXS"),
        ("a-mxfp4_moe.gguf", "MXFP4"),
        ("a-Q4_K_XXL.gguf", ""),
        ("tinyQ8_0.gguf", ""),
        ("a-Q8_01.gguf", ""),
        ("model.gguf", ""),
    ],
)
def test_labels_are_whole_tokens_of_the_name_or_its_folders(path: str, label: str) -> None:
    assert label_of(path) == label


def test_several_models_in_one_repository_must_be_told_apart() -> None:
    sizes = {"base-Q8_0.gguf": 8.0, "base-Q4_0.gguf": 4.0, "instruct-Q8_0.gguf": 8.0}
    with pytest.raises(SeveralModels) as caught:
        choice(sizes)
    assert "org/repo:base-Q8_0.gguf" in caught.value.message
    assert "org/repo:instruct-Q8_0.gguf" in caught.value.message
    assert chosen(sizes, only("Q4_0")) == "base-Q4_0.gguf"
    assert chosen(sizes, Wanted(file="instruct-Q8_0.gguf")) == "instruct-Q8_0.gguf"


def test_a_part_names_its_split() -> None:
    part = "Q8_0/DeepSeek-R1-Q8_0-00002-of-00003.gguf"
    found = choice(DEEPSEEK, Wanted(file=part)).candidate
    assert len(found.paths) == 3
    assert found.paths[0].endswith("-00001-of-00003.gguf")
    assert found.size_bytes == 711 * GB


def test_an_incomplete_split_is_refused_or_passed_over() -> None:
    sizes = {path: size for path, size in DEEPSEEK.items() if "R1-Q8_0-00002" not in path}
    found = choice(sizes)
    assert found.candidate.label == "Q4_K_M"
    assert "incomplete split was left out" in found.reason
    for wanted in (only("Q8_0"), Wanted(file="Q8_0/DeepSeek-R1-Q8_0-00001-of-00003.gguf")):
        with pytest.raises(IncompleteSplit, match="of 3 parts, number 2 is missing"):
            choice(sizes, wanted)


def test_the_best_that_fits_is_chosen() -> None:
    found = choice(THE_BLOKE, Wanted(max_bytes=6 * GB))
    assert found.candidate.label == "Q6_K"
    assert "1 too large" in found.reason
    with pytest.raises(ModelTooLarge, match=r"the smallest that will do, Q2_K, has 3\.1 GB"):
        choice(THE_BLOKE, Wanted(max_bytes=GB))


def test_what_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(QuantizationNotFound, match=r"no IQ4_XS; it has Q2_K \(3\.1 GB\)"):
        choice(THE_BLOKE, only("iq4_xs"))
    with pytest.raises(NoModelFile, match=r"other\.gguf is not in org/repo"):
        choice(THE_BLOKE, Wanted(file="other.gguf"))
    with pytest.raises(NoModelFile, match="no GGUF file in it"):
        choice({"model.safetensors": 3.0})


def test_where_a_name_lies_bytes_decide() -> None:
    lying = {**THE_BLOKE, "mistral-7b-v0.1.Q8_0.gguf": 4.4}
    assert chosen(lying) == "mistral-7b-v0.1.Q6_K.gguf"
    alone = choice({"model-Q8_0.gguf": 4.4}, num_params=7_240_000_000)
    assert "by its size it is rather" not in alone.reason  # one file is no majority to lie against
    three = {"model-Q8_0.gguf": 2.7, "model-Q6_K.gguf": 5.94, "model-Q4_K_M.gguf": 4.37}
    found = choice(three, only("Q2_K"), num_params=7_240_000_000)
    assert found.candidate.paths == ("model-Q8_0.gguf",)
    assert "by its size it is rather Q2_K" in found.reason


def test_every_choice_is_explained_in_one_line() -> None:
    assert choice(BARTOWSKI).reason == (
        "Q8_0: the first of Q8_0 > Q6_K > Q5_K_M > Q4_K_M > ... (3.4 GB; 8 others)"
    )
    assert choice({"m.gguf": 4.0}).reason == "m.gguf: the only model (4.0 GB)"


def test_every_label_has_its_bits_and_is_found_in_a_name() -> None:
    for label in LABELS:
        assert nominal_bits(label)
        assert label_of(f"model-{label.lower()}.gguf") == label


names = st.sampled_from(["model", "Model", "a-b.c"])
paths = st.builds(
    lambda label, folder, ending: f"{folder}model-{label}{ending}",
    st.sampled_from(LABELS),
    st.sampled_from(["", "x/", "mmproj/"]),
    st.sampled_from([".gguf", ".GGUF", "-00001-of-00001.gguf", ".imatrix", "-lora.gguf"]),
)
listings = st.dictionaries(paths, st.floats(0.1, 20), min_size=1, max_size=8)
ONE_LINE = re.compile(r"[^\n]+")


def outcome(files: list[RemoteFile], wanted: Wanted) -> Choice | str:
    """The choice, or why there is none."""
    try:
        return choose("org/repo", files, wanted)
    except (NoModelFile, SeveralModels, ModelTooLarge, IncompleteSplit) as exc:
        return exc.message


@given(listings, st.randoms(), st.none() | st.floats(0.1, 20))
def test_a_choice_is_a_model_that_fits_whatever_the_order_of_the_listing(
    sizes: dict[str, float], random: object, limit: float | None
) -> None:
    files = listing(sizes)
    wanted = Wanted(max_bytes=None if limit is None else int(limit * GB))
    found = outcome(files, wanted)
    if isinstance(found, str):
        assert ONE_LINE.fullmatch(found)
        return
    random.shuffle(files)  # type: ignore[attr-defined]
    assert choose("org/repo", files, wanted) == found
    assert found.candidate.is_complete
    assert not any(rejection(path) for path in found.candidate.paths)
    assert wanted.max_bytes is None or found.candidate.size_bytes <= wanted.max_bytes
    assert ONE_LINE.fullmatch(found.reason)
