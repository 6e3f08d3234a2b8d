"""Rendering in a process that can be stopped: whatever a template does, the next one works."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gguf_server.errors import ChatTemplateError, InvalidRequest
from gguf_server.prompt import worker
from gguf_server.prompt.protocol import Render
from gguf_server.prompt.renderer import TemplateRenderer
from gguf_server.wire.framing import encode
from tests.server.api.fakes import FACTS
from tests.server.prompt.samples import HERMES
from tests.server.prompt.test_template import SMOLLM2

pytestmark = pytest.mark.anyio

HI = [{"role": "user", "content": "hi"}]
GOOD = msgspec.structs.replace(FACTS, chat_template="{{ bos_token }}{{ messages[0].content }}")
ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}"
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def facts_with(template: str):
    return msgspec.structs.replace(FACTS, chat_template=template)


async def test_the_models_template_is_rendered_with_its_tokens():
    async with TemplateRenderer() as renderer:
        assert await renderer.render(HI, GOOD) == "<s>hi"
        assert "SmolLM" in await renderer.render(HI, facts_with(SMOLLM2))


@pytest.mark.parametrize("template", [None, ""])
async def test_a_model_without_a_template_says_what_to_do(template):
    async with TemplateRenderer() as renderer:
        with pytest.raises(ChatTemplateError, match="--chat-template FILE"):
            await renderer.render(HI, msgspec.structs.replace(FACTS, chat_template=template))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (ENDLESS, "took longer than 0.5 s"),
        ("{{ 9 ** (9 ** 9) }}", "took longer than 0.5 s"),  # one operation in C
        ("{{ 'x' * 10 ** 9 }}", "memory"),
        ("{{ [1] * 10 ** 9 }}", "memory"),
        ("{{ 'x'.join(['y' * 9999] * 99999) }}", "chat template"),
        ("{{ ('x' * 99999)|center(10 ** 9) }}", "chat template"),
        ("{{ range(99999) | map('string') | sum(start='') }}", "chat template"),
        ("{{ lipsum(n=99999) }}", "took longer than 0.5 s"),
        ("{{ ('a' * 30)|replace('a', 'aa' * 999)|replace('a', 'aa' * 9999) }}", "chat template"),
        ("{{ '%99999999999d' % 1 }}", "memory"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply"),
        ("{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}", "chat template"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}", "more than"),
        ("{{ raise_exception('no') }}", "no"),
    ],
)
async def test_after_any_bad_template_the_next_one_works(template, reason):
    async with TemplateRenderer(time_limit_seconds=0.5) as renderer:
        await renderer.start()
        began = time.monotonic()
        with pytest.raises(ChatTemplateError) as caught:
            await renderer.render(HI, facts_with(template))
        assert time.monotonic() - began < 10
        assert reason in caught.value.message
        assert "\n" not in caught.value.message
    async with TemplateRenderer(time_limit_seconds=20) as renderer:
        assert await renderer.render(HI, GOOD) == "<s>hi"


async def test_tools_and_variables_reach_the_template():
    facts = facts_with("{# <tool_call> 'arguments': #}{{ mood }} {{ messages[0].content }}")
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    async with TemplateRenderer(time_limit_seconds=20) as renderer:
        prompt = await renderer.render(HI, facts, tools=[tool], variables={"mood": "calm"})
    assert prompt.startswith("calm You are a function calling AI model.")


@pytest.mark.parametrize("name", ["messages", "tools", "bos_token", "raise_exception"])
async def test_a_request_cannot_replace_what_the_server_gives(name):
    async with TemplateRenderer() as renderer:
        with pytest.raises(InvalidRequest, match=name) as caught:
            await renderer.render(HI, GOOD, variables={name: "x", "mood": "calm"})
    assert caught.value.param == "chat_template_kwargs"


async def test_a_request_with_absurd_arguments_costs_itself_only():
    deep = "[" * 100_000
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": deep}}
    messages: list[dict[str, Any]] = [*HI, {"role": "assistant", "tool_calls": [call]}]
    async with TemplateRenderer(time_limit_seconds=20) as renderer:
        await renderer.render(messages, facts_with(HERMES))
        pid = _pid(renderer)
        await renderer.render(messages, GOOD)
        assert _pid(renderer) == pid


async def test_a_slow_template_costs_its_own_request_only():
    async with TemplateRenderer(time_limit_seconds=2) as renderer:
        await renderer.start()
        slow = asyncio.create_task(renderer.render(HI, facts_with(ENDLESS)))
        await asyncio.sleep(0)
        others = [asyncio.create_task(renderer.render(HI, GOOD)) for _ in range(3)]
        with pytest.raises(ChatTemplateError, match="took longer than 2 s"):
            await slow
        assert await asyncio.gather(*others) == ["<s>hi"] * 3


async def test_a_worker_that_dies_fails_one_request_and_is_replaced():
    async with TemplateRenderer(time_limit_seconds=20) as renderer:
        await renderer.start()
        rendering = asyncio.create_task(renderer.render(HI, facts_with(ENDLESS)))
        await asyncio.sleep(0)
        os.kill(_pid(renderer), signal.SIGKILL)
        with pytest.raises(ChatTemplateError, match="ended the process"):
            await rendering
        assert await renderer.render(HI, GOOD) == "<s>hi"


async def test_a_caller_that_gives_up_leaves_no_busy_worker_behind():
    async with TemplateRenderer(time_limit_seconds=20) as renderer:
        await renderer.start()
        pid = _pid(renderer)
        rendering = asyncio.create_task(renderer.render(HI, facts_with(ENDLESS)))
        await asyncio.sleep(0)
        rendering.cancel()
        await asyncio.wait([rendering])
        assert rendering.cancelled()
        assert not exists(pid)
        assert await renderer.render(HI, GOOD) == "<s>hi"


async def test_one_worker_serves_many_requests_and_ends_with_the_renderer():
    async with TemplateRenderer(time_limit_seconds=20) as renderer:
        await renderer.render(HI, GOOD)
        pid = _pid(renderer)
        for _ in range(5):
            await renderer.render(HI, GOOD)
        assert _pid(renderer) == pid
    assert not exists(pid)


async def test_the_worker_inherits_no_secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    async with TemplateRenderer() as renderer:
        await renderer.start()
        assert b"secret" not in environment_of(_pid(renderer))


async def test_large_conversations_pass():
    text = "word " * 200_000
    async with TemplateRenderer(time_limit_seconds=20) as renderer:
        prompt = await renderer.render([{"role": "user", "content": text}], GOOD)
    assert prompt == "<s>" + text


def _pid(renderer: TemplateRenderer) -> int:
    assert renderer._worker is not None
    return renderer._worker._process.pid


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def start_worker(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_a_worker_ends_with_its_parent():
    with start_worker("from gguf_server.prompt.worker import main; main()") as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=20) == 0


def test_a_worker_that_loops_when_its_parent_is_gone_ends_by_itself():
    assert worker._ORPHAN_SECONDS == 10
    program = "from gguf_server.prompt import worker; worker._ORPHAN_SECONDS = 1; worker.main()"
    with start_worker(program) as process:
        assert process.stdin is not None
        process.stdin.write(encode(Render(ENDLESS, HI, "", "")))
        process.stdin.close()
        assert process.wait(timeout=20) == -signal.SIGALRM


def test_a_worker_imports_little():
    program = "import sys, gguf_server.prompt.worker; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"asyncio", "fastapi", "pydantic", "uvicorn", "numpy", "llama_cpp"}
    assert not heavy & {name.split(".")[0] for name in done.stdout.split()}
