"""The main job, as clients see it: the official client, many at once, and true counts."""

import asyncio
from collections.abc import Iterator

import openai
import pytest

from tests.e2e.conftest import Serve, ServerUnderTest

QUESTIONS = [f"What is {n} plus {n}? Answer with one number." for n in range(16)]


@pytest.fixture
def client(server: ServerUnderTest) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_the_openai_client_chats(client: openai.OpenAI) -> None:
    model = client.models.list().data[0].id
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Say hello."}],
        max_tokens=16,
        temperature=0,
    )
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.completion_tokens <= 16


def test_sixteen_streams_at_once_equal_the_answers_one_by_one(server: ServerUnderTest) -> None:
    async def ask_all() -> tuple[list[str], list[str]]:
        url = f"{server.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            at_once = await asyncio.gather(*(_stream(client, text) for text in QUESTIONS))
            one_by_one = [await _stream(client, text) for text in QUESTIONS]
        return at_once, one_by_one

    at_once, one_by_one = asyncio.run(ask_all())
    assert all(at_once)
    assert at_once == one_by_one


def test_the_same_seed_gives_the_same_text_and_0_is_a_seed(server: ServerUnderTest) -> None:
    def ask(seed: int) -> str:
        body = {"prompt": "The sea is", "max_tokens": 24, "temperature": 1, "seed": seed}
        answer = server.post("v1/completions", **body)
        return str(answer.json()["choices"][0]["text"])

    assert ask(0) == ask(0)
    assert ask(0) != ask(1)


@pytest.mark.parametrize("layout", ["split", "unified"])
def test_a_prefix_shared_by_many_is_computed_once_and_reported_as_cached(
    serve: Serve, layout: str
) -> None:
    server = serve("--kv-layout", layout, "--slots", "8", "--context", "2048")
    system = "You are a careful assistant. " * 100
    results = asyncio.run(_ask_with_system(server, system, 16))
    prompt_tokens = sum(usage.prompt_tokens for usage in results)
    cached = sum(_cached(usage) for usage in results)
    computed = server.metric("prompt_tokens_computed_total")
    assert computed == prompt_tokens - cached, "usage tells what was computed"
    shortest = min(usage.prompt_tokens for usage in results)
    # Everything after the shared system prompt is a few dozen tokens a request.
    assert computed < shortest + 16 * 40
    assert server.metric("prefix_cache_hit_tokens_total") == cached


def test_a_long_prompt_leaves_no_stream_out_of_any_step(serve: Serve) -> None:
    server = serve("--slots", "4", "--context", "4096")
    results = asyncio.run(_mixed_load(server))
    assert results == [256, 256, 8]
    assert server.metric("steps_left_out_total") == 0
    assert server.metric("step_prefill_tokens_max") <= 512


def test_a_unified_cache_that_runs_full_preempts_and_every_text_is_the_models_own(
    serve: Serve, server: ServerUnderTest
) -> None:
    tight = serve(
        *("--kv-layout", "unified", "--slots", "4", "--context", "512", "--kv-cells", "512"),
        *("--output-reservation-tokens", "8"),
    )
    texts = asyncio.run(_complete_all(tight))
    assert tight.metric("preemptions_total") > 0
    for text in texts:
        # Cells in another order round differently, so the likeliest of equals may change.
        assert _share_of_likeliest(server, text) > 0.95


def test_the_printed_curl_line_is_for_this_server(serve: Serve) -> None:
    server = serve()
    server.process.terminate()
    assert server.wait_until_ended() == 0
    assert f"curl {server.url}/v1/chat/completions" in "\n".join(server.output)


def test_api_keys_guard_the_api_but_not_the_probes(serve: Serve) -> None:
    server = serve(GGUF_API_KEYS="one,two")
    assert server.probe("readyz") == 200
    assert server.post("v1/completions", prompt="x", max_tokens=1).status_code == 401
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="two") as client:
        assert client.models.list().data


async def _stream(client: openai.AsyncOpenAI, text: str) -> str:
    model = (await client.models.list()).data[0].id
    events = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": text}],
        max_tokens=24,
        temperature=0,
        stream=True,
    )
    return "".join([e.choices[0].delta.content or "" async for e in events if e.choices])


async def _ask_with_system(
    server: ServerUnderTest, system: str, count: int
) -> list[openai.types.CompletionUsage]:
    async def ask(client: openai.AsyncOpenAI, number: int) -> openai.types.CompletionUsage:
        model = (await client.models.list()).data[0].id
        answer = await client.chat.completions.create(
            model=model,
            messages=[
                {"role": "system", "content": system},
                {"role": "user", "content": f"{number} is my number. Which one is it?"},
            ],
            max_tokens=8,
        )
        assert answer.usage
        return answer.usage

    url = f"{server.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        return await asyncio.gather(*(ask(client, number) for number in range(count)))


def _cached(usage: openai.types.CompletionUsage) -> int:
    assert usage.prompt_tokens_details
    return usage.prompt_tokens_details.cached_tokens or 0


async def _mixed_load(server: ServerUnderTest) -> list[int]:
    """Two streams, and a prompt of some 2,000 tokens while they run."""
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        streams = [asyncio.create_task(_count(client, f"Story {n}:", 256)) for n in range(2)]
        long = asyncio.create_task(_count(client, "many words " * 1000, 8))
        return list(await asyncio.gather(*streams, long))


async def _count(client: openai.AsyncOpenAI, prompt: str, max_tokens: int) -> int:
    answer = await client.completions.create(
        model=(await client.models.list()).data[0].id,
        prompt=prompt,
        max_tokens=max_tokens,
        extra_body={"ignore_eos": True},
    )
    assert answer.usage
    return answer.usage.completion_tokens


def _share_of_likeliest(server: ServerUnderTest, text: str) -> float:
    """How many tokens of ``text`` the model, reading all of it anew, finds as likely as any."""
    answer = server.post("v1/completions", prompt=text, max_tokens=0, echo=True, logprobs=1)
    scored = answer.json()["choices"][0]["logprobs"]
    pairs = list(zip(scored["token_logprobs"], scored["top_logprobs"], strict=True))[6:]
    near = [max(top.values()) - logprob < 0.1 for logprob, top in pairs]
    share = sum(near) / len(near)
    return float(share)


async def _complete_all(server: ServerUnderTest) -> list[str]:
    async def complete(client: openai.AsyncOpenAI, number: int) -> str:
        prompt = f"Chapter {number}. It was"
        answer = await client.completions.create(
            model=(await client.models.list()).data[0].id,
            prompt=prompt,
            max_tokens=200,
            temperature=0,
            extra_body={"ignore_eos": True},
        )
        assert answer.usage
        assert answer.usage.completion_tokens == 200
        return prompt + answer.choices[0].text

    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        return list(await asyncio.gather(*(complete(client, number) for number in range(4))))
