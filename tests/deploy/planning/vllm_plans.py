"""Plans for vLLM, as they are made of a model and of what is asked."""

from gguf_deploy.hardware import GPUS
from gguf_deploy.planning.ask import Ask
from gguf_deploy.planning.offers import catalogue_offers
from gguf_deploy.planning.startup import parse_storage, startup
from gguf_deploy.planning.vllm import VllmPlan, best, trials, vllm_plan
from gguf_server.knobs import Knobs
from gguf_server.models.safetensors import Safetensors

COMMIT = "1e10" + "7" * 36
SMALL = Safetensors(f"acme/m@{COMMIT}", "acme/m", COMMIT, 16_000_000_000, 4, "Llama", 131_072)


def ask(*names: str, knobs: Knobs | None = None, **options: object) -> Ask:
    offers = catalogue_offers(GPUS, names, 8)
    return Ask(offers, knobs or Knobs(context_tokens=0), 64 << 30, **options)  # type: ignore[arg-type]


def planned(model: Safetensors = SMALL, asked: Ask | None = None) -> VllmPlan:
    asked = asked or ask()
    chosen = best(trials(model, asked), asked.prefer)
    assert chosen is not None
    budget = startup(model.size_bytes, parse_storage("pd"), on_gpu=True, num_gpus=1)
    return vllm_plan(model, chosen, asked, budget)
