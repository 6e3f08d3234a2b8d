"""Our own clients against our own server, the real model, real processes."""

import json
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import HANG_SECONDS, Serve, ServerUnderTest, until
from tests.server.chat.terminal import CTRL_C, CTRL_D, Terminal

CANCELLED = 'requests_total{finished_reason="cancelled"}'


def run(*arguments: str, question: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "gguf_server", *arguments],
        input=question,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def test_a_question_through_a_pipe_is_answered(server: ServerUnderTest) -> None:
    question = "What is the capital of France?"
    options = ("--temperature", "0", "--max-tokens", "16", "--json")
    result = run("chat", server.url, *options, question=question)
    answer = json.loads(result.stdout)
    messages = [{"role": "user", "content": question}]
    direct = server.post("v1/chat/completions", messages=messages, temperature=0, max_tokens=16)
    assert result.returncode == 0
    assert answer["content"] == direct.json()["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] <= 16


def test_ctrl_c_in_the_terminal_frees_the_slot(server: ServerUnderTest, tmp_path: Path) -> None:
    before = server.metric(CANCELLED)
    with Terminal(tmp_path, "chat", server.url) as terminal:
        terminal.sees("(?m)^> ")
        terminal.types("Write a very long story about a river.")
        terminal.sees(r"\n(\w+\W+){5}")
        terminal.keys(CTRL_C)
        terminal.sees(r"\(stopped\)\n> ")
        until(lambda: server.metric(CANCELLED) == before + 1, "the request is cancelled")
        terminal.keys(CTRL_D)
        assert terminal.ends() == 0


def test_chat_waits_for_a_model_that_loads(serve: Serve) -> None:
    server = serve(ready=False)
    server.wait_until_listening()
    result = run("chat", server.url, "--max-tokens", "4", question="Say hello.")
    assert result.returncode == 0
    assert result.stdout.strip()


def test_the_load_generator_measures_the_server(server: ServerUnderTest) -> None:
    options = ("--workload", "eight", "--requests", "4", "--concurrency", "2", "--json")
    result = run("bench", server.url, *options)
    (workload,) = json.loads(result.stdout)["workloads"]
    assert (result.returncode, result.stderr) == (0, "")
    assert (workload["num_completed"], workload["num_short"]) == (4, 0)
    assert abs(workload["num_prompt_tokens"] - 4 * 94) <= 12
    assert workload["num_output_tokens"] == 4 * 64
