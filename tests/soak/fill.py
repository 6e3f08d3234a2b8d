"""Whether every slot and every KV cell can still be had: by taking all of them."""

import asyncio

import httpx

from tests.soak.acts import CONTEXT
from tests.soak.subject import Subject
from tests.soak.verdict import Fill

_PROMPT_TOKENS = 8
_FIRST_LETTER = 100  # of the model's tokens that stand for bytes


async def fill(subject: Subject) -> Fill:
    """As many requests as there are slots, which share no token and have all cells together."""
    slots, cells = int(subject.metric("slots")), int(subject.metric("kv_cells_limit"))
    cells_each = min(cells // slots, CONTEXT - 1)
    preemptions = subject.metric("preemptions_total")
    async with httpx.AsyncClient(base_url=subject.url, timeout=120) as http:
        asking = [_ask(http, number, cells_each) for number in range(slots)]
        finished = await asyncio.gather(*asking)
    return Fill(
        slots=slots,
        cells_asked=slots * cells_each,
        cells_used=int(subject.metric("kv_cells_used")),
        preempted=int(subject.metric("preemptions_total") - preemptions),
        finished=sum(finished),
    )


async def _ask(http: httpx.AsyncClient, number: int, num_cells: int) -> bool:
    """The last token of an answer is never computed with, so it takes no cell. Nor does the last
    of a context: an answer ends there."""
    max_tokens = num_cells - _PROMPT_TOKENS + 1
    prompt = [_FIRST_LETTER + number] * _PROMPT_TOKENS
    body = {"prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True}
    answer = await http.post("/v1/completions", json=body)
    return answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == max_tokens
