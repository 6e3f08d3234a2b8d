import json

import pytest

from gguf_server.errors import RepositoryGated
from gguf_server.models.listing import RemoteFile, Repository
from gguf_server.models.tokenizer import (
    NoTemplate,
    base_models,
    read_template,
    small_files,
    tokenizer_files,
)

_COMMIT = "c" * 40


def repository(name: str, *paths: str, base: tuple[str, ...] = ()) -> Repository:
    files = tuple(RemoteFile(path, 10, blob_id="b" * 40) for path in paths)
    return Repository(name=name, commit=_COMMIT, files=files, base_models=base)


def names(model: Repository, others: list[Repository], in_file: tuple[str, ...] = ()):
    """Whom the walk visits, and why it ends."""
    known = {each.name: each for each in others}
    visited: list[str] = []
    with pytest.raises(NoTemplate) as end:
        visited.extend(base.name for base in base_models(model, in_file, known.__getitem__))
    return visited, str(end.value)


def test_only_tokenizer_config_and_licence_are_worth_having_beside_a_model():
    listed = repository(
        "o/m",
        *(
            "README.md",
            "model.safetensors",
            "logo.png",
            "x.gguf",
            "sub/config.json",
            ".gitattributes",
        ),
        *("tokenizer.json", "config.json", "LICENSE.txt", "Notice", "chat_template.jinja"),
    )
    wanted = {file.path for file in small_files(listed.files)}
    assert wanted == {
        *("tokenizer.json", "config.json", "LICENSE.txt", "Notice", "chat_template.jinja")
    }
    assert {file.path for file in tokenizer_files(listed.files)} == wanted - {
        "LICENSE.txt",
        "Notice",
    }


def test_a_small_file_that_is_not_small_is_left_where_it_is():
    files = (RemoteFile("tokenizer.json", 1 << 30), RemoteFile("LICENSE", 1 << 30))
    assert not small_files(files)


def test_the_base_model_of_the_card_counts_before_that_of_the_file():
    model = repository("q/m-GGUF", "m.gguf", base=("o/m",))
    base = repository("o/m", "tokenizer_config.json")
    assert names(model, [base], ("x/y",)) == (["o/m"], "its base model o/m has none either")


def test_the_files_keys_name_the_base_model_where_no_card_does():
    model = repository("q/m-GGUF", "m.gguf")
    assert names(model, [repository("o/m", "chat_template.jinja")], ("o/m",))[0] == ["o/m"]


def test_a_base_model_that_is_a_quantization_leads_one_level_up():
    model = repository("me/m-GGUF", "m.gguf", base=("q/m-GGUF",))
    quant = repository("q/m-GGUF", "m.gguf", base=("o/m",))
    base = repository("o/m", "tokenizer_config.json")
    assert names(model, [quant, base])[0] == ["o/m"]


def test_a_quantization_with_a_tokenizer_is_asked_before_its_base():
    model = repository("me/m-GGUF", "m.gguf", base=("q/m-GGUF",))
    quant = repository("q/m-GGUF", "m.gguf", "tokenizer_config.json", base=("o/m",))
    base = repository("o/m", "tokenizer_config.json")
    assert names(model, [quant, base])[0] == ["q/m-GGUF", "o/m"]


def test_the_walk_goes_one_level_up_and_no_further():
    chain = [repository(f"o/m{level}", "m.gguf", base=(f"o/m{level + 1}",)) for level in range(4)]
    visited, end = names(chain[0], chain)
    assert not visited
    assert end == "its base models up to o/m2 are quantizations without one"


def test_several_base_models_are_told_and_not_chosen_from():
    assert names(repository("q/merge", base=("a/a", "b/b")), []) == (
        [],
        "q/merge names several base models: a/a, b/b",
    )


def test_no_base_model_is_told():
    assert names(repository("q/m", base=("q/m",)), []) == ([], "q/m names no base model")


def test_why_a_base_model_cannot_be_had_is_told():
    def ask(name: str) -> Repository:
        raise RepositoryGated(f"{name} is gated")

    with pytest.raises(NoTemplate, match="its base model cannot be had: o/m is gated"):
        next(base_models(repository("q/m", base=("o/m",)), (), ask))


def template_in(directory) -> str:
    return read_template(directory, {path.name for path in directory.iterdir()})


def write(directory, name: str, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (directory / name).write_text(text)


def test_a_template_in_a_file_of_its_own_wins(tmp_path):
    write(tmp_path, "tokenizer_config.json", {"chat_template": "config"})
    assert template_in(tmp_path) == "config"
    write(tmp_path, "chat_template.json", {"chat_template": "json"})
    assert template_in(tmp_path) == "json"
    write(tmp_path, "chat_template.jinja", "jinja")
    assert template_in(tmp_path) == "jinja"


def test_of_several_templates_the_default_is_read(tmp_path):
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    write(tmp_path, "tokenizer_config.json", {"chat_template": named})
    assert template_in(tmp_path) == "plain"
    write(tmp_path, "tokenizer_config.json", {"chat_template": named[:1]})
    assert template_in(tmp_path) == "tools"


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "[" * 100_000, '{"chat_template": 3}', '{"chat_template": [3]}'),
        *('{"chat_template": [{"name": [], "template": {}}]}', "\\ud800", "{}"),
    ],
)
def test_a_config_that_makes_no_sense_has_no_template(tmp_path, content):
    write(tmp_path, "tokenizer_config.json", content)
    assert template_in(tmp_path) == ""


def test_a_config_that_is_no_text_has_no_template(tmp_path):
    (tmp_path / "tokenizer_config.json").write_bytes(b"\xff\xfe\x00")
    assert template_in(tmp_path) == ""


def test_a_file_that_was_not_brought_is_not_read(tmp_path):
    write(tmp_path, "chat_template.jinja", "left by somebody")
    write(tmp_path, "tokenizer_config.json", {"chat_template": "config"})
    assert read_template(tmp_path, {"tokenizer_config.json"}) == "config"
