"""What every client asks the server; the answers must not depend on who asks.

Read by the tests and, in other environments, by the drivers: only the standard library is here.
"""

from typing import Any

MAX_TOKENS = 16
MESSAGES = [
    {"role": "system", "content": "You answer in one short sentence."},
    {"role": "user", "content": "What is the capital of France?"},
]
FUNCTION: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
TOOL = {"type": "function", "function": FUNCTION}
CHOICE = {"type": "function", "function": {"name": "get_weather"}}
CALL_ID = "call_1"
SKY = {
    "title": "Sky",
    "type": "object",
    "properties": {
        "color": {"enum": ["blue", "grey"], "type": "string"},
        "clouds": {"enum": [0, 1, 2], "type": "integer"},
    },
    "required": ["color", "clouds"],
    "additionalProperties": False,
}
TEXTS = ["The cat sat on the mat.", "A cat sits on a mat.", "Stocks fell on Monday."]
TOO_LONG = "word " * 5000
NO_SUCH_MODEL = "no-such-model"


def answered_call(arguments: str) -> list[dict[str, Any]]:
    """The conversation after the tool has answered."""
    call = {"id": CALL_ID, "type": "function", "function": {"name": "get_weather"}}
    call["function"]["arguments"] = arguments  # type: ignore[index]
    return [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": CALL_ID, "content": "Sunny, 21 degrees."},
    ]
