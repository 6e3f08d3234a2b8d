"""What can go wrong on a host does go wrong here, for real, and the API never goes dark."""

import contextlib
import json
import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import HANG_SECONDS, Serve, ServerUnderTest, until

LONG = {"prompt": "Once upon a time", "max_tokens": 1500, "stream": True, "ignore_eos": True}
# A small batch makes a step short, and with it the silence that counts as a stall.
QUICK_STALLS = ("--step-stall-seconds", "1", "--max-batch-tokens", "16")


class Stream:
    """A streaming completion read in the background."""

    def __init__(self, server: ServerUnderTest, **body: object) -> None:
        self.events: list[str] = []
        self._server = server
        self._body = {**LONG, **body}
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def wait_until_running(self) -> None:
        until(lambda: self.events, "the stream has started")

    def wait_until_ended(self) -> list[str]:
        self._thread.join(HANG_SECONDS)
        assert not self._thread.is_alive(), "the stream never ended"
        return self.events

    def errors(self) -> list[dict[str, object]]:
        events = [json.loads(event) for event in self.wait_until_ended() if event != "[DONE]"]
        return [event["error"] for event in events if "error" in event]

    def _read(self) -> None:
        url = f"{self._server.url}/v1/completions"
        with (
            # Cut off: there is just no more.
            contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError),
            self._server.http.stream("POST", url, json=self._body) as response,
        ):
            for line in response.iter_lines():
                if line.startswith("data: "):
                    self.events.append(line.removeprefix("data: "))


@contextmanager
def probes_answer(server: ServerUnderTest) -> Iterator[None]:
    """Throughout the block, /livez says 200 and nothing waits."""
    done = threading.Event()
    codes: list[int] = []

    def probe() -> None:
        while not done.is_set():
            codes.append(server.probe("livez"))

    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(probe)
        try:
            yield
        finally:
            done.set()
        probing.result()
    assert set(codes) == {200}


def test_a_killed_engine_costs_each_open_request_one_clean_error_and_comes_back(
    serve: Serve,
) -> None:
    server = serve()
    streams = [Stream(server) for _ in range(3)]
    for stream in streams:
        stream.wait_until_running()
    with probes_answer(server):
        server.signal_engine(signal.SIGKILL)
        for stream in streams:
            errors = stream.errors()
            assert [error["code"] for error in errors] == ["engine_died"]
            assert "SIGKILL" in str(errors[0]["message"])
        until(lambda: server.probe("readyz") == 200, "another engine is ready")
    assert server.probe("startupz") == 200
    assert server.post("v1/completions", prompt="Hello", max_tokens=4).status_code == 200
    assert server.metric('engine_restarts_total{cause="crash"}') == 1


def test_requests_that_come_while_the_engine_is_replaced_are_told_when_to_try_again(
    serve: Serve,
) -> None:
    server = serve()
    server.signal_engine(signal.SIGKILL)
    until(lambda: server.probe("readyz") == 503, "the loss is noticed")
    answer = server.post("v1/completions", prompt="Hello", max_tokens=4)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "engine_unavailable"
    assert int(answer.headers["retry-after"]) >= 1


def test_a_crash_loop_ends_with_an_exit_code_and_the_reason(serve: Serve, tmp_path: Path) -> None:
    termination_log = tmp_path / "termination-log"
    termination_log.touch()
    server = serve("--max-crashes", "2", "--termination-log", str(termination_log))
    first = server.signal_engine(signal.SIGKILL)
    until(lambda: server.engine_pid() != first, "another engine is started")
    until(lambda: server.probe("readyz") == 200, "it is ready")
    server.signal_engine(signal.SIGKILL)
    assert server.wait_until_ended() == 5
    assert "gave up after 2 crashes" in server.errors[-1]
    assert "SIGKILL" in server.errors[-1]
    assert "SIGKILL" in termination_log.read_text()
    assert "Traceback" not in "\n".join(server.errors)


def test_a_stopped_engine_is_found_and_replaced(serve: Serve) -> None:
    server = serve(*QUICK_STALLS)
    stream = Stream(server)
    stream.wait_until_running()
    with probes_answer(server):
        server.signal_engine(signal.SIGSTOP)
        assert [error["code"] for error in stream.errors()] == ["engine_died"]
        until(lambda: server.probe("readyz") == 200, "another engine is ready")
    assert server.metric('engine_restarts_total{cause="stall"}') == 1


def test_an_idle_engine_that_is_stopped_is_found_too(serve: Serve) -> None:
    server = serve(*QUICK_STALLS)
    stopped = server.signal_engine(signal.SIGSTOP)
    until(lambda: server.engine_pid() != stopped, "it is replaced")


def test_a_load_that_makes_no_progress_is_given_up_and_probes_answer_meanwhile(
    serve: Serve,
) -> None:
    server = serve("--load-stall-seconds", "1", ready=False)
    stopped = server.signal_engine(signal.SIGSTOP)
    server.wait_until_listening()
    with probes_answer(server):
        startup = server.get("startupz")
        assert startup.status_code == 503
        assert startup.json()["status"] == "loading"
        until(lambda: server.engine_pid() != stopped, "the load is given up")
        until(lambda: server.probe("readyz") == 200, "the next one succeeds")


def test_sigterm_while_loading_ends_at_once_with_code_0(serve: Serve) -> None:
    server = serve(ready=False)
    engine = server.signal_engine(signal.SIGSTOP)
    server.wait_until_listening()
    server.process.terminate()
    assert server.wait_until_ended() == 0
    assert not Path(f"/proc/{engine}").exists()


def test_sigterm_while_streaming_lets_the_stream_finish_and_ends_with_code_0(
    serve: Serve,
) -> None:
    server = serve("--drain-delay-seconds", "2", "--drain-grace-seconds", "100")
    stream = Stream(server, max_tokens=200)
    stream.wait_until_running()
    server.process.terminate()
    until(lambda: server.probe("readyz") == 503, "no longer ready")
    until(lambda: any("accepting requests for 2 s more" in s for s in server.errors), "and why")
    assert server.probe("livez") == 200
    late = server.post("v1/completions", prompt="Hello", max_tokens=2)
    assert late.status_code == 200, "endpoints are still being removed: keep accepting"
    events = stream.wait_until_ended()
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "length"
    assert server.wait_until_ended() == 0


def test_probes_are_answered_while_open_requests_finish(serve: Serve) -> None:
    server = serve("--drain-grace-seconds", "100")
    stream = Stream(server, max_tokens=300)
    stream.wait_until_running()
    server.process.terminate()
    until(lambda: server.probe("readyz") == 503, "no longer ready")
    assert (server.probe("livez"), server.probe("startupz")) == (200, 200)
    refused = server.post("v1/completions", prompt="Hello", max_tokens=2)
    assert refused.json()["error"]["code"] == "server_draining"
    assert stream.wait_until_ended()[-1] == "[DONE]"
    assert server.wait_until_ended() == 0


def test_a_stream_longer_than_the_grace_gets_a_clean_error(serve: Serve) -> None:
    server = serve("--drain-grace-seconds", "0.5")
    stream = Stream(server)
    stream.wait_until_running()
    server.process.terminate()
    assert [error["code"] for error in stream.errors()] == ["server_draining"]
    assert server.wait_until_ended() == 0


def test_a_second_ctrl_c_does_not_wait_for_open_requests(serve: Serve) -> None:
    server = serve("--drain-grace-seconds", "100")
    stream = Stream(server)
    stream.wait_until_running()
    server.process.send_signal(signal.SIGINT)
    until(lambda: any("once more" in line for line in server.errors), "the first was heard")
    server.process.send_signal(signal.SIGINT)
    assert server.wait_until_ended() == 0
    assert len(stream.errors()) == 1


@pytest.mark.parametrize("module", ["gguf_server.engine", "gguf_server.prompt.worker"])
def test_ctrl_c_at_a_terminal_ends_a_start_without_a_word_of_those_that_only_begin(
    serve: Serve, module: str
) -> None:
    server = serve(ready=False)
    server.child_pid(module)
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.wait_until_ended() == 0
    assert not [line for line in server.errors if "INFO" not in line]


def test_a_server_that_cannot_be_put_together_says_so_and_leaves_no_engine(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "fastapi.py").write_text("import time; time.sleep(1); import not_there")
    python_path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    server = serve(ready=False, PYTHONPATH=python_path)
    engine = server.engine_pid()
    assert server.wait_until_ended() == 1
    assert _is_gone(engine)
    assert "internal error, ModuleNotFoundError: No module named 'not_there'" in server.errors[-1]
    assert "Traceback" not in "\n".join(server.errors)


def test_the_engine_does_not_outlive_a_killed_server(serve: Serve) -> None:
    server = serve()
    stream = Stream(server)
    stream.wait_until_running()
    engine = server.engine_pid()
    server.process.kill()
    until(lambda: _is_gone(engine), "the engine has ended")


# What makes llama.cpp assert: Python runs this file in every process that has it on its path.
ASSERT_FOR_SEED_13 = """
import sys

if "gguf_server.engine" in sys.orig_argv:
    from gguf_server.engine.llama import binding
    from gguf_server.engine.llama.runner import LlamaRunner

    new_sampler = LlamaRunner.new_sampler

    def abort_for_seed_13(self, params, *rest):
        if params.seed == 13:
            binding._ggml.ggml_abort(b"/src/ggml.c", 7, b"GGML_ASSERT(%s) failed", b"luck")
        return new_sampler(self, params, *rest)

    LlamaRunner.new_sampler = abort_for_seed_13
"""


def test_an_assertion_is_named_everywhere_and_who_causes_it_twice_is_refused_the_third_time(
    serve: Serve, tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(ASSERT_FOR_SEED_13)
    termination_log = tmp_path / "termination-log"
    termination_log.touch()
    python_path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    options = ("--termination-log", str(termination_log), "--max-crashes", "3")
    server = serve(str(tiny_model), *options, PYTHONPATH=python_path)
    poison = {"prompt": "the cat", "seed": 13, "max_tokens": 4}
    for _ in range(2):
        with probes_answer(server):
            error = server.post("v1/completions", **poison).json()["error"]
            assert error["code"] == "engine_died"
            assert "killed by SIGABRT: llama.cpp: ggml.c:7: GGML_ASSERT(luck) failed" in str(error)
            until(lambda: server.probe("readyz") == 503, "the loss is noticed")
            assert "GGML_ASSERT(luck)" in server.get("readyz").text
            until(lambda: server.probe("readyz") == 200, "another engine is ready")
    refused = server.post("v1/completions", **poison)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "crashing_request")
    assert server.post("v1/completions", prompt="the cat", max_tokens=4).status_code == 200
    assert server.metric('engine_restarts_total{cause="crash"}') == 2
    server.post("v1/completions", **{**poison, "prompt": "another poison"})
    assert server.wait_until_ended() == 5
    for said in (server.errors[-1], termination_log.read_text()):
        assert "gave up after 3 crashes" in said
        assert "GGML_ASSERT(luck) failed" in said


def test_an_engine_that_gets_no_more_memory_is_replaced(serve: Serve, tiny_model: Path) -> None:
    server = serve(str(tiny_model), "--max-body-bytes", "100000000")
    resource.prlimit(server.engine_pid(), resource.RLIMIT_AS, (1 << 20, 1 << 20))
    with probes_answer(server):
        error = server.post("v1/completions", prompt="x" * 50_000_000).json()["error"]
        assert error["code"] == "engine_died"
        assert "MemoryError" in error["message"]
        until(lambda: server.probe("readyz") == 200, "another engine is ready")
    assert server.post("v1/completions", prompt="the cat", max_tokens=4).status_code == 200
    assert server.metric('engine_restarts_total{cause="crash"}') == 1
    assert "Traceback" not in "\n".join(server.errors)


def test_the_kernel_would_take_the_engine_before_the_server(serve: Serve, tiny_model: Path) -> None:
    server = serve(str(tiny_model))
    scores = [
        int(Path(f"/proc/{pid}/oom_score_adj").read_text())
        for pid in (server.process.pid, server.engine_pid())
    ]
    assert scores[0] < scores[1] or scores == [1000, 1000]


def test_requests_beyond_the_queue_get_429_and_a_computed_retry_after(serve: Serve) -> None:
    server = serve("--slots", "1", "--max-waiting", "1")
    streams = [Stream(server)]
    streams[0].wait_until_running()
    streams.append(Stream(server))
    until(lambda: server.metric("num_requests_waiting") == 1, "the second one waits")
    answer = server.post("v1/completions", prompt="Hello", max_tokens=4)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "queue_full"
    assert int(answer.headers["retry-after"]) >= 1
    server.process.kill()
    for stream in streams:
        stream.wait_until_ended()


def test_a_client_that_hangs_up_is_no_longer_computed_for(serve: Serve) -> None:
    server = serve()
    with httpx.stream("POST", f"{server.url}/v1/completions", json=LONG) as response:
        next(response.iter_lines())
        assert server.metric("num_requests_running") == 1
    until(lambda: server.metric('requests_total{finished_reason="cancelled"}') == 1, "cancelled")
    assert server.metric("generation_tokens_total") < 1500


def test_a_client_that_hangs_up_before_the_answer_is_cancelled_too(serve: Serve) -> None:
    server = serve()
    body = {**LONG, "stream": False}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/completions", json=body, timeout=0.5)
    until(lambda: server.metric('requests_total{finished_reason="cancelled"}') == 1, "cancelled")


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(serve: Serve) -> None:
    server = serve("--context", "256")
    answer = server.post("v1/completions", prompt="word " * 400, max_tokens=4)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "prompt is too long: it has 401 tokens, the context holds 256" in error["message"]


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", 3, "is empty"),
        (b"PK\x03\x04 not a model", 3, "not a GGUF file"),
        (None, 3, "ends before its tensors do"),
    ],
    ids=["empty", "wrong magic", "truncated"],
)
def test_a_broken_file_ends_the_command_with_one_line_and_a_code(
    serve: Serve, tmp_path: Path, model_path: Path, content: bytes | None, code: int, words: str
) -> None:
    broken = tmp_path / "broken.gguf"
    if content is None:
        with model_path.open("rb") as file:
            content = file.read(40_000_000)
    broken.write_bytes(content)
    server = serve(str(broken), ready=False)
    assert server.wait_until_ended() == code
    assert words in server.errors[-1]
    assert str(broken) in server.errors[-1]
    assert not [line for line in server.errors if " ERROR " in line], "said once, not twice"
    assert "Traceback" not in "\n".join(server.errors)


def test_a_port_in_use_is_named(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = serve("--port", str(port), ready=False)
        assert server.wait_until_ended() == 6
    assert f"port {port}" in server.errors[-1]


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return True


def test_a_schema_of_endless_references_kills_no_engine(serve: Serve, tiny_model: Path) -> None:
    server = serve(str(tiny_model))
    chain = {f"{n}": {"allOf": [{"$ref": f"#/$defs/{n + 1}"}]} for n in range(5000)}
    form = {"type": "json_object", "schema": {"$ref": "#/$defs/0", "$defs": {**chain, "5000": {}}}}
    answer = server.post("v1/completions", prompt="the cat", max_tokens=4, response_format=form)
    assert answer.status_code == 200
