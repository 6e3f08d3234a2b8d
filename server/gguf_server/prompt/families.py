"""Which family's notation a chat template was written for, told from its text."""

import re
from collections.abc import Mapping
from typing import Literal

from gguf_server.prompt import harmony, hermes, llama3, mistral
from gguf_server.prompt.dialect import Dialect
from gguf_server.prompt.thinking import thinking_of

Family = Literal["harmony", "mistral", "llama3", "hermes"]

_NO_TOKENS: Mapping[str, int] = {}
_ARGUMENTS = re.compile(r'arguments\\?"\s*:')
_PARAMETERS = re.compile(r'parameters\\?"\s*:')
_XML_ARGUMENTS = ("<function=", "<arg_key>")
_ONE_CALL = "only supports single tool-calls"


def family_of(template: str) -> Family | None:
    """None where the template knows no tools, or writes their calls in a way we cannot read."""
    if "tools" not in template:
        return None
    if harmony.CHANNEL in template and "functions." in template:
        return "harmony"
    if mistral.MARK in template:
        return "mistral"
    if any(mark in template for mark in _XML_ARGUMENTS):
        return None
    if hermes.OPENING in template:
        return "hermes" if _ARGUMENTS.search(template) else None
    if "<|start_header_id|>" in template and _PARAMETERS.search(template):
        return "llama3"
    return None


def dialect_of(template: str, special_tokens: Mapping[str, int] = _NO_TOKENS) -> Dialect:
    """What models with this template speak; ``special_tokens`` as in ``ModelFacts``.

    A template of no family is taught the notation of Hermes, see ``lesson.py``.
    """
    thinking = thinking_of(template)
    match family_of(template):
        case "harmony":
            return harmony.Harmony(special_tokens)
        case "mistral":
            return mistral.Mistral(thinking, special_tokens, _mistral_style(template))
        case "llama3":
            return llama3.Llama3(thinking, special_tokens, one_call=_ONE_CALL in template)
        case "hermes" | None:
            return hermes.Hermes(thinking, special_tokens)


def _mistral_style(template: str) -> mistral.Style:
    if mistral.CALL_ID in template:
        return "call_id"
    return "arguments" if mistral.ARGUMENTS in template else "list"
