"""What helm says after an installation: how long, how to ask, what an upgrade does."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.charts.rendering import COMMIT, Json, notes

SHARED: Json = {"accessModes": ["ReadWriteMany"]}


def test_the_time_that_helm_must_be_given() -> None:
    assert "--timeout 8400s" in notes()
    values = {"replicas": 3, "volume": SHARED}
    assert "--timeout 25200s" in notes(values), "pods come one after the other"


def test_the_first_question_is_a_command_that_works() -> None:
    found = notes({"service": {"port": 80}})
    assert "port-forward service/llm-gguf-server 8000:80" in found
    assert "--retry-connrefused" in found, (
        "port-forward is in the background, and not there at once"
    )
    assert "http://127.0.0.1:8000/v1/chat/completions" in found
    assert '"model": "org/repo"' in found
    assert "Authorization" not in found
    found = notes({"apiKey": {"existingSecret": "k"}})
    assert '-H "Authorization: Bearer $KEY"' in found
    found = notes({"test": {"embeddings": True}})
    assert "/v1/embeddings" in found
    assert json.loads(re.findall(r"-d '(.*)'", found)[0]) == {
        "model": "org/repo",
        "input": "Why is the sky blue?",
    }
    ingress = {"enabled": True, "hosts": [{"host": "a.b"}], "tls": [{"hosts": ["a.b"]}]}
    assert "curl https://a.b/v1/chat/completions" in notes({"ingress": ingress})


@pytest.mark.parametrize(
    ("model", "warns"),
    [
        ({}, False),
        ({"revision": "main"}, True),
        ({"revision": ""}, True),
        ({"name": f"org/repo@{COMMIT}:Q8_0", "revision": ""}, False),
        ({"quantization": "Q8_0"}, False),
    ],
)
def test_a_model_without_a_commit_is_warned_of(model: Json, warns: bool) -> None:
    assert ("WARNING: no commit" in notes({"model": model})) is warns


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"gpu": {"count": 1}}, "needs 1 more free GPU on the same node, where the volume is;"),
        ({"gpu": {"count": 2}, "volume": SHARED}, "needs 2 more free GPUs; without"),
        (
            {"gpu": {"count": 1}, "volume": SHARED, "replicas": 2},
            "replaces one pod after the other on the GPUs there are",
        ),
        ({"rollout": {"strategy": "Recreate"}}, "there is a gap of one load"),
    ],
)
def test_what_an_upgrade_does_is_said(values: Json, sentence: str) -> None:
    assert sentence in re.sub(r"\s+", " ", notes(values))


def test_both_helms_say_the_same() -> None:
    values = {"gpu": {"count": 1}, "model": {"revision": ""}}
    assert notes(values, helm_version="3") == notes(values, helm_version="4")


def test_nothing_is_left_of_the_templates() -> None:
    assert not re.search(r"<no value>|%!|\{\{", notes({"gpu": {"count": 1}}))


@pytest.mark.parametrize(
    ("claim", "volume", "stays"),
    [
        ("10Gi", {"size": "42Gi"}, "10Gi"),
        ("900Gi", {"size": "1Ti"}, "900Gi"),
        ("10Gi", {"size": "10Gi"}, ""),
        ("1Gi", {"size": "1024Mi"}, ""),
        ("42Gi", {"size": "10Gi"}, ""),
        ("42Gi", {"size": "10Gi", "grow": True}, ""),
        ("10Gi", {"size": "42Gi", "grow": True}, ""),
        ("", {"size": "42Gi"}, ""),
    ],
)
def test_a_claim_that_is_too_small_is_warned_of(claim: str, volume: Json, stays: str) -> None:
    found = re.sub(r"\s+", " ", notes({"volume": volume}, claim=claim))
    assert ("WARNING: the claim" in found) is bool(stays)
    if stays:
        assert (
            f"stays at {stays}, and this model with the one before wants {volume['size']}" in found
        )


KUBECTL = """#!/bin/sh
echo "asked: $*" >&2
printf '# of the team\\nsecret\\nother\\n' | base64
"""


def test_the_key_is_read_from_its_secret_by_the_line_that_is_printed(tmp_path: Path) -> None:
    found = notes({"apiKey": {"existingSecret": "k", "key": "a.b"}})
    (line,) = re.findall(r"^  (KEY=.*)$", found, re.MULTILINE)
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    there = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", "-c", f'{line}; echo "$KEY"']
    done = subprocess.run(command, env=there, capture_output=True, text=True, check=True)
    assert done.stdout == "secret\n"
    assert done.stderr == "asked: -n models get secret k -o jsonpath={.data.a\\.b}\n"
