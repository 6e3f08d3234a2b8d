"""What a fetch would do is told, and nothing is done."""

import json

import pytest

from gguf_server.errors import QuantizationNotFound
from gguf_server.models.choice import Wanted
from gguf_server.models.fetch import fetch
from gguf_server.models.preview import Preview, preview
from gguf_server.models.reference import Reference
from gguf_server.models.store.store import Store
from gguf_server.models.tokenizer import Mode
from tests.server.models.shop import Shop

NAME = "org/repo-GGUF"
REPO = Reference(NAME)


def look(store: Store, tokenizer: Mode = "auto") -> Preview:
    return preview(REPO, Wanted(), store, tokenizer=tokenizer)


def offer_stripped(shop: Shop, **beside: str):
    files = {name.replace("_jinja", ".jinja"): shop.text(text) for name, text in beside.items()}
    shop.offer(NAME, {"m-Q8_0.gguf": shop.model(template="")} | files, card={"base_model": "o/b"})
    template = json.dumps({"chat_template": "x"})
    shop.offer("o/b", {"tokenizer_config.json": shop.text(template), "a.bin": shop.text("")})


def test_files_and_the_reason_are_told_and_nothing_is_written(hub, store, shop):
    model = shop.model(num_weights=4 << 20)
    repository = shop.offer(NAME, {"m-Q8_0.gguf": model, "config.json": shop.text("{}")})
    found = look(store)
    assert (found.repository, found.commit) == (NAME, repository.refs["main"])
    assert {file.path for file in found.files} == {"m-Q8_0.gguf", "config.json"}
    assert found.download_bytes == model.stat().st_size + len("{}")
    assert found.reason.startswith("Q8_0: the only model")
    assert found.template == "the model file's own"
    assert not store.root.exists()
    assert hub.bytes_sent() < model.stat().st_size / 4


def test_what_is_here_would_not_be_fetched(store, shop):
    shop.offer(NAME, {"m-Q8_0.gguf": shop.model(), "m-Q4_0.gguf": shop.model()})
    assert look(store).download_bytes > 0
    fetch(REPO, Wanted(), store, report=lambda _: None)
    assert look(store).files == ()


def test_what_could_not_be_chosen_is_the_same_error(store, shop):
    shop.offer(NAME, {"m-Q8_0.gguf": shop.model()})
    with pytest.raises(QuantizationNotFound):
        preview(REPO, Wanted(("Q2_K",)), store)


def test_a_base_models_tokenizer_is_counted(store, shop):
    offer_stripped(shop)
    found = look(store)
    assert found.template == "that of o/b"
    assert {file.path for file in found.files} == {"m-Q8_0.gguf", "tokenizer_config.json"}


def test_a_template_beside_the_model_file_is_named(store, shop):
    offer_stripped(shop, chat_template_jinja="x")
    assert look(store).template == f"the one beside the model file in {NAME}"


def test_why_there_would_be_none_is_told(store, shop):
    shop.offer(NAME, {"m-Q8_0.gguf": shop.model(template="")})
    assert look(store).template == f"none: {NAME} names no base model"


def test_with_never_no_header_is_read(hub, store, shop):
    offer_stripped(shop)
    assert look(store, "never").template == "the model file's own, if it has one"
    assert hub.bytes_sent() == 0
