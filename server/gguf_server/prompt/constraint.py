"""What an answer must look like: reasoning, then calls that can be read or content that fits."""

from collections.abc import Callable
from dataclasses import dataclass

from gguf_server.errors import InvalidRequest
from gguf_server.prompt.calls import reads_calls
from gguf_server.prompt.dialect import ToolUse
from gguf_server.prompt.grammar import Grammar
from gguf_server.prompt.thinking import State, Thinking
from gguf_server.wire.messages import Constraint


@dataclass(frozen=True, slots=True)
class CallForms:
    """Calls from the first character on, calls after any text, and calls where JSON may stand.

    The last ones must differ from JSON in the first character: that is where llguidance decides.
    """

    forced: str
    free: str
    beside_json: str


def constrained(
    grammar: Grammar,
    thinking: Thinking | None,
    prompt: str,
    use: ToolUse,
    response: Constraint | None,
    call_forms: Callable[[Grammar, ToolUse], CallForms],
) -> Constraint | None:
    """For the families whose answers are a block of reasoning, then text or calls."""
    check(use, response)
    state = thinking.state(prompt) if thinking else "over"
    if not reads_calls(use):
        if response is None or state == "over" or _rules_all(response, state):
            return response
        body = grammar.content(response)
    else:
        body = either(grammar, use, response, call_forms(grammar, use))
    if thinking and state != "over":
        body = _after_thinking(grammar, thinking, state, body)
    return grammar.constraint(body, param(use, response))


def check(use: ToolUse, response: Constraint | None) -> None:
    if reads_calls(use) and response is not None and response.kind != "json_schema":
        msg = "grammar cannot be combined with tools; leave one of them out"
        raise InvalidRequest(msg, param=response.param)


def either(grammar: Grammar, use: ToolUse, response: Constraint | None, forms: CallForms) -> str:
    """Calls, or where they are free also content."""
    if use.choice != "auto":
        return forms.forced
    calls = forms.free if response is None else forms.beside_json
    return f"{calls} | {grammar.content(response)}"


def param(use: ToolUse, response: Constraint | None) -> str:
    """The request's field to blame if the grammar cannot be used."""
    return "tools" if response is None or reads_calls(use) else response.param


def refuse_grammar_beside_reasoning(response: Constraint) -> None:
    """Their rules cannot become a part of ours."""
    if response.kind != "json_schema":
        msg = "grammar cannot be used where the model reasons first; use response_format instead"
        raise InvalidRequest(msg, param=response.param)


def _rules_all(response: Constraint, state: State) -> bool:
    """Whether a grammar rules the whole answer. Where the model may leave out reasoning it does."""
    if state == "inside":
        refuse_grammar_beside_reasoning(response)
    return response.kind != "json_schema"


def _after_thinking(grammar: Grammar, thinking: Thinking, state: State, body: str) -> str:
    thought = f"{grammar.until('thought', thinking.closing)} SPACE?"
    if state == "possible":
        thought = f"({grammar.opening('thinking', thinking.opening)} {thought})?"
    return f"{thought} ({body})"
