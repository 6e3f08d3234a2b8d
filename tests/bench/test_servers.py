"""How the peers are started and asked: what holds a comparison equal."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gguf_server.bench.client import chat_body
from gguf_server.bench.workloads import Message, Prompt
from gguf_server.endpoint import Endpoint
from tests.bench.servers import Deployment, Kind, Server

KINDS: tuple[Kind, ...] = ("gguf-server", "llama-server", "llama_cpp.server", "examples/server")
MODEL = Path("/models/small.gguf")
PLAIN = Deployment(MODEL, num_slots=4, num_context_tokens=1024, num_threads=3)
EMBEDDING = Deployment(MODEL, num_slots=4, num_context_tokens=1024, num_threads=3, embeddings=True)
PROMPT = Prompt((Message("user", "hello"),), max_tokens=5)
FORM = Prompt(PROMPT.messages, 5, schema={"type": "object", "properties": {}})


def server(kind: Kind) -> Server:
    return Server(kind, kind, "program", ("added",))


def options(kind: Kind, deployment: Deployment = PLAIN) -> dict[str, str]:
    """Each word behind the one before it: an option's value behind its name."""
    words = server(kind).command(deployment, 8123)
    return dict(pairwise(words))


def example_config(deployment: Deployment = PLAIN) -> dict[str, Any]:
    command = server("examples/server").command(deployment, 8123)
    config: dict[str, Any] = json.loads(command[-2])
    return config


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_begins_with_the_program_and_ends_with_what_was_added(kind: Kind) -> None:
    command = server(kind).command(PLAIN, 8123)
    assert (command[0], command[-1]) == ("program", "added")


def test_every_server_has_the_same_context_for_a_slot() -> None:
    assert options("gguf-server")["--context"] == "1024"
    assert options("llama_cpp.server")["--n_ctx"] == "1024"  # it has one slot
    assert options("llama-server")["--ctx-size"] == str(4 * 1024)
    assert example_config()["model"]["n_ctx"] == 4 * 1024


def test_every_server_that_has_slots_has_the_same_number() -> None:
    assert options("gguf-server")["--slots"] == "4"
    assert options("llama-server")["--parallel"] == "4"
    assert example_config()["model"]["n_seq_max"] == 4


def test_every_server_has_the_same_threads_for_prompts_and_answers() -> None:
    assert options("gguf-server")["--threads"] == "3"
    assert options("llama-server")["--threads"] == "3"  # for both
    ours = options("llama_cpp.server")
    assert (ours["--n_threads"], ours["--n_threads_batch"]) == ("3", "3")
    model = example_config()["model"]
    assert (model["threads"], model["threads_batch"]) == (3, 3)


def test_every_server_uses_flash_attention() -> None:
    assert options("gguf-server")["--flash-attention"] == "on"
    assert options("llama-server")["--flash-attn"] == "on"
    assert options("llama_cpp.server")["--flash_attn"] == "true"
    assert example_config()["model"]["flash_attn"] is True


def test_both_python_servers_have_our_batch() -> None:
    assert options("llama_cpp.server")["--n_batch"] == "512"
    assert example_config()["model"]["n_batch"] == 512


def test_llama_cpp_server_neither_cuts_answers_short_nor_computes_what_nobody_asked_for() -> None:
    given = options("llama_cpp.server")
    assert (given["--interrupt_requests"], given["--logits_all"]) == ("false", "false")


def test_the_example_gets_its_port_and_model_in_its_configuration() -> None:
    config = example_config()
    assert config["server"] == {"host": "127.0.0.1", "port": 8123}
    assert config["model"]["path"] == str(MODEL)


def test_embeddings_are_pooled_to_their_mean_wherever_a_server_can() -> None:
    assert options("gguf-server", EMBEDDING)["--embeddings"] == "on"
    assert options("llama-server", EMBEDDING)["--pooling"] == "mean"
    assert options("llama_cpp.server", EMBEDDING)["--embedding"] == "true"
    model = example_config(EMBEDDING)["model"]
    assert (model["embedding"], model["pooling_type"]) == (True, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_without_embeddings_nobody_hears_of_them(kind: Kind) -> None:
    assert not [word for word in server(kind).command(PLAIN, 1) if "embedding" in word]


def asked(kind: Kind, model: Path, prompt: Prompt) -> dict[str, Any]:
    target = server(kind).target(Endpoint("127.0.0.1", 1), "m", Deployment(model, 1))
    body: dict[str, Any] = json.loads(chat_body(target, prompt))
    return body


@pytest.mark.parametrize("kind", ["llama_cpp.server", "examples/server"])
def test_the_python_servers_are_kept_from_ending_by_a_bias(kind: Kind, vocabulary: Path) -> None:
    body = asked(kind, vocabulary, PROMPT)
    assert "ignore_eos" not in body
    assert body["logit_bias"] == {"1": -100.0, "2": -100.0}


@pytest.mark.parametrize("kind", ["gguf-server", "llama-server"])
def test_the_others_are_told_to_ignore_the_end(kind: Kind, vocabulary: Path) -> None:
    body = asked(kind, vocabulary, PROMPT)
    assert body["ignore_eos"] is True
    assert "logit_bias" not in body


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_by_a_schema_may_end(kind: Kind, vocabulary: Path) -> None:
    assert not {"ignore_eos", "logit_bias"} & set(asked(kind, vocabulary, FORM))


def test_llama_cpp_server_gets_a_schema_the_older_way(vocabulary: Path) -> None:
    assert asked("llama_cpp.server", vocabulary, FORM)["response_format"] == {
        "type": "json_object",
        "schema": FORM.schema,
    }
    assert asked("examples/server", vocabulary, FORM)["response_format"]["type"] == "json_schema"
