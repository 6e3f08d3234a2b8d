"""``gguf-server chat``: a conversation at a terminal, or one question from a pipe."""

import json
import sys
from contextlib import closing
from dataclasses import asdict
from io import TextIOWrapper
from typing import Any

from gguf_server.chat.client import ChatClient
from gguf_server.chat.conversation import Conversation
from gguf_server.chat.session import Session, when_ready
from gguf_server.chat.terminal import Keyboard, Screen
from gguf_server.endpoint import Endpoint
from gguf_server.errors import SettingsError
from gguf_server.settings.clients import ChatSettings
from gguf_server.settings.environment import history_file, wants_colors


def chat(settings: ChatSettings) -> None:
    """All of standard input is one question where it is no terminal, and with --json."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a byte that is no UTF-8 is no reason to end
    is_conversation = sys.stdin.isatty() and sys.stdout.isatty() and not settings.json
    question = "" if is_conversation else _piped_question()
    endpoint = Endpoint.parse(settings.url, settings.api_key)
    screen = Screen(colors=wants_colors())
    with closing(ChatClient(endpoint, settings.timeout_seconds)) as client:
        model = settings.model or when_ready(client, screen, client.models)[0]
        conversation = Conversation(settings.system)
        session = Session(client, screen, conversation, _options(settings, model))
        if is_conversation:
            screen.note(f"{model} at {endpoint}. /help lists commands, Ctrl-D leaves.")
            session.converse(Keyboard(history_file()))
        elif settings.json:
            answer = session.ask(question, is_shown=False)
            print(json.dumps({"model": model} | asdict(answer), ensure_ascii=False))
        else:
            session.ask(question)


def _piped_question() -> str:
    question = sys.stdin.read().strip()
    if not question:
        msg = "there is no question on standard input; echo hi | gguf-server chat"
        raise SettingsError(msg)
    return question


def _options(settings: ChatSettings, model: str) -> dict[str, Any]:
    wanted = {
        "model": model,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "stream_options": {"include_usage": True} if settings.json else None,
    }
    return {name: value for name, value in wanted.items() if value is not None}
