"""What llama-benchy is given, so that it asks nobody but the server. It runs in benchmarks only."""

import json
from itertools import pairwise
from pathlib import Path

import httpx

from gguf_server.bench.client import Target
from gguf_server.endpoint import Endpoint
from tests.bench.generator import NUM_BOOK_WORDS, Desk, desk
from tests.bench.servers import Server

SERVER = Server("ours", "gguf-server", "program")
TARGET = Target(Endpoint("127.0.0.1", 8123), "served")


def test_the_generator_finds_a_book_and_a_tokenizer_and_afterwards_nothing(
    vocabulary: Path,
) -> None:
    with desk(vocabulary) as place:
        book = httpx.get(place.book_url, trust_env=False).text
        document = json.loads((place.home / "tokenizer.json").read_text())
    assert len(book.split()) == NUM_BOOK_WORDS
    assert document["model"]["vocab"]["ab"] == 4
    assert not place.home.exists()


def test_the_generator_is_pointed_at_the_server_and_at_files_of_this_machine() -> None:
    place = Desk(Path("/desk"), "http://127.0.0.1:9/book.txt")
    command = place.command("python", SERVER, TARGET)
    options = dict(pairwise(command))
    assert command[:3] == ["python", "-m", "llama_benchy"]
    assert options["--base-url"] == "http://127.0.0.1:8123/v1"
    assert (options["--model"], options["--served-model-name"]) == ("ours", "served")
    assert options["--tokenizer"] == "/desk/tokenizer.json"
    assert options["--book-url"] == place.book_url
    assert options["--save-result"] == "/desk/table.md"


def test_an_answer_has_the_length_asked_for_and_nothing_is_asked_that_we_refuse() -> None:
    command = Desk(Path("/desk"), "http://book").command("python", SERVER, TARGET)
    extra = dict(pairwise(command))["--extra-body"].split(",")
    assert sorted(extra) == ["ignore_eos=true", "return_token_ids=false"]
    assert "--exact-tg" not in command  # it would ask for min_tokens
