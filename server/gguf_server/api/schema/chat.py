"""``/v1/chat/completions``."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import FailFast, Field, model_validator

from gguf_server.api.schema.common import Neutral
from gguf_server.api.schema.generation import MAX_LOGPROBS, GenerationRequest
from gguf_server.api.schema.json_values import JsonObject
from gguf_server.api.schema.messages import MAX_MESSAGES, Message
from gguf_server.api.schema.tools import ToolChoiceField, ToolDefinitions, tool_use
from gguf_server.api.validation import invalid
from gguf_server.prompt.dialect import ToolUse


class ChatRequest(GenerationRequest):
    NOT_SUPPORTED: ClassVar[Neutral] = {
        "audio": (),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "modalities": (["text"],),
        "moderation": (),
        "prediction": (),
        "return_token_ids": (False,),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "verbosity": ("medium",),
        "web_search_options": (),
    }
    NO_EFFECT: ClassVar[frozenset[str]] = GenerationRequest.NO_EFFECT | {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
    }

    messages: Annotated[list[Message], FailFast()] = Field(min_length=1, max_length=MAX_MESSAGES)
    tools: ToolDefinitions = Field([])
    tool_choice: ToolChoiceField | None = None
    parallel_tool_calls: bool = True
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=MAX_LOGPROBS)
    chat_template_kwargs: JsonObject = Field({})
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        use = self.tool_use
        if use.tools and self.grammar is not None:
            raise invalid("cannot be combined with tools", param="grammar")
        if self.top_logprobs and not self.logprobs:
            raise invalid("needs logprobs: true", param="top_logprobs")
        return self

    @property
    def num_logprobs(self) -> int | None:
        return self.top_logprobs if self.logprobs else None

    @cached_property
    def tool_use(self) -> ToolUse:
        """What the model may call."""
        return tool_use(self.tools, self.tool_choice, parallel=self.parallel_tool_calls)

    @property
    def shown_tools(self) -> list[dict[str, Any]]:
        """What the prompt tells of tools: all of them, so that prompts share their beginning."""
        return [each.as_data() for each in self.tools] if self.tool_use.tools else []

    @property
    def template_variables(self) -> Mapping[str, Any]:
        """What the template is told besides messages and tools."""
        match self.reasoning_effort:
            case None:
                own: dict[str, Any] = {}
            case "none":
                own = {"enable_thinking": False}
            case effort:
                own = {"reasoning_effort": effort}
        return {**own, **self.chat_template_kwargs}
