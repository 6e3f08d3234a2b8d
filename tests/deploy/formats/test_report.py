"""A plan as it is read."""

from dataclasses import replace

from gguf_deploy.formats.report import lines, price_per_million_tokens, shortage
from gguf_deploy.planning.ask import Ask, Offer
from gguf_deploy.planning.placing import placement
from gguf_deploy.planning.search import search
from gguf_deploy.planning.startup import parse_storage, startup
from gguf_server.knobs import Knobs
from tests.deploy.planning.fakes import GIB, LARGE, MIDDLE, SMALL, blueprint, measure

ASK = Ask(
    offers=tuple(Offer(each, count) for each in (SMALL, MIDDLE, LARGE) for count in (1, 2)),
    knobs=Knobs(slots=4, context_tokens=8192),
    host_bytes=64 * GIB,
)

# ruff: noqa: E501
TEXT = """\
org/repo:Q8_0
the only model
llama, 21.5 B parameters, 20 layers
4 slots of 8192 tokens, cache f16; counted by llama.cpp b1

   OFFER       NEEDS     OF        TOKENS/S AT MOST  $/HOUR  $/MILLION TOKENS  FITS
   2 x small   12.7 GiB  8.0 GiB                     1.00                      no: CUDA0 needs 12.7 GiB, 4.7 GiB more than it has
   2 x middle  13.0 GiB  24.0 GiB  47, 186 by 4      3.00    4.47              yes
*  1 x large   26.2 GiB  80.0 GiB  186, 745 by 4     1.00    0.37              yes

chosen: 1 x large
CUDA0: weights 20.0 + KV cache 3.1 + compute 0.1 + CUDA context 0.6 + headroom 2.4 = 26.2 of 80.0 GiB
host: weights 0.0 + KV cache 0.0 + compute 0.0 + outputs 0.0 + server 0.5 = 0.5 of 64.0 GiB
fetched in about 4 min, then ready in 29 s from nvme, 2 GB/s (process 6 s, load 11 s, context 2 s, warmup 10 s)
run it: gguf-server serve org/repo:Q8_0 --served-model-name org/repo --device gpu --context 8192 --slots 4"""


def said(model=None, asked=ASK) -> list[str]:
    found = search([model or blueprint(20)], asked, measure)
    if found.chosen is None:
        return lines(found, None)
    budget = startup(20 * GIB, parse_storage("nvme"), on_gpu=True, num_gpus=1)
    return lines(found, placement(found.chosen, budget))


def test_a_plan_tells_the_model_the_offers_and_the_chosen_one() -> None:
    assert "\n".join(said()) == TEXT


def test_an_offer_that_does_not_fit_says_what_it_lacks() -> None:
    found = search([blueprint(20)], replace(ASK, offers=(Offer(SMALL, 1),), host_bytes=0), measure)
    [trial] = found.trials
    assert found.chosen is None
    assert shortage(trial) == "CUDA0 needs 24.3 GiB, 16.3 GiB more than it has"


def test_what_a_million_tokens_cost() -> None:
    assert price_per_million_tokens(3.6, 1000) == 1.0
