"""The reader thread's work: check and tokenize requests while the step loop computes."""

from collections.abc import Callable

from gguf_server.engine.compiler import Compiler
from gguf_server.engine.embedder import NewEmbedding
from gguf_server.engine.generator import NewSequence
from gguf_server.engine.loop import Command
from gguf_server.engine.runner import Grammar, Grammars, VectorRunner, Vocabulary
from gguf_server.wire.messages import (
    Accepted,
    Cancel,
    Detokenize,
    Detokenized,
    Embed,
    FromEngine,
    Load,
    Rejected,
    Submit,
    ToEngine,
    Tokenize,
    Tokenized,
)

# Below this, tokenizing takes no time worth saving.
_SHORT_CHARACTERS = 16_384


class Intake:
    """Answers what needs no step itself; passes the rest on to the loop.

    A model without ``grammars`` generates nothing, one without ``vectors`` embeds nothing.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        grammars: Grammars | None,
        context_tokens: int,
        send: Callable[[FromEngine], None],
        put: Callable[[Command], None],
        vectors: VectorRunner | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._compiler = None if grammars is None else Compiler(grammars)
        self._context_tokens = context_tokens
        self._vectors = vectors
        self._send = send
        self._put = put
        self._last_prompt: str | None = None
        self._last_tokens: list[int] = []

    def take(self, message: ToEngine) -> None:
        """One message from the API process."""
        match message:
            case Submit():
                self._submit(message)
            case Cancel():
                if self._compiler is None or not self._compiler.cancel(message.id):
                    self._put(message)
            case Tokenize():
                self._tokenize(message)
            case Detokenize():
                self._detokenize(message)
            case Embed():
                self._embed(message)
            case Load():
                pass  # only ever the first message, and that never gets here

    def _tokenize(self, message: Tokenize) -> None:
        if refusal := self._far_too_long(message.id, message.text):
            self._send(refusal)
            return
        tokens = self._vocabulary.tokenize(
            message.text, add_special=message.add_special, parse_special=message.parse_special
        )
        self._send(Tokenized(message.id, tuple(tokens)))

    def _embed(self, embed: Embed) -> None:
        if self._vectors is None:
            msg = (
                "this server computes no embeddings; start it with --embeddings on "
                "(GGUF_EMBEDDINGS=on), or serve an embedding model"
            )
            self._send(Rejected(embed.id, "invalid_request", msg))
            return
        tokens = self._tokens(embed.id, embed.input)
        if isinstance(tokens, Rejected):
            self._send(tokens)
        elif refusal := self._unembeddable(embed, tokens, self._vectors):
            self._send(refusal)
        else:
            self._put(NewEmbedding(embed, tokens))

    def _unembeddable(
        self, embed: Embed, tokens: list[int], vectors: VectorRunner
    ) -> Rejected | None:
        if embed.dimensions is not None and not 1 <= embed.dimensions <= vectors.size:
            msg = f"dimensions is {embed.dimensions}; this model's vectors have {vectors.size}"
            return Rejected(embed.id, "invalid_request", msg, "dimensions")
        if not tokens or embed.input == "":
            return Rejected(embed.id, "invalid_request", "the input is empty", "input")
        if len(tokens) > vectors.max_tokens:
            option = "--max-batch-tokens" if self._compiler else "--context"
            msg = (
                f"the input has {len(tokens)} tokens, an embedding is computed of at most "
                f"{vectors.max_tokens}; split the input or raise {option}"
            )
            return Rejected(embed.id, "context_length_exceeded", msg, "input")
        return self._unknown(embed.id, tokens, "input")

    def _submit(self, submit: Submit) -> None:
        if self._compiler is None:
            msg = "this model computes embeddings only; serve a causal language model for text"
            self._send(Rejected(submit.id, "invalid_request", msg))
            return
        tokens = self._tokens(submit.id, submit.prompt)
        if isinstance(tokens, Rejected):
            self._send(tokens)
            return
        if refusal := self._refusal(submit, tokens):
            self._send(refusal)
            return
        if submit.constraint is None:
            self._accept(submit, tokens, None)
            return
        self._compiler.start(
            submit.id,
            submit.constraint,
            lambda grammar: self._accept(submit, tokens, grammar),
            lambda exc: self._send(Rejected(submit.id, exc.code, exc.message, exc.param)),
        )

    def _accept(self, submit: Submit, tokens: list[int], grammar: Grammar | None) -> None:
        self._send(Accepted(submit.id, len(tokens)))
        self._put(NewSequence(submit, tokens, grammar))

    def _tokens(self, message_id: int, given: str | tuple[int, ...]) -> list[int] | Rejected:
        if isinstance(given, str):
            return self._far_too_long(message_id, given) or self._prompt_tokens(given)
        return list(given)

    def _prompt_tokens(self, prompt: str) -> list[int]:
        """A request for several answers sends its prompt once for each, one after the other."""
        if prompt != self._last_prompt:
            tokens = self._vocabulary.tokenize(prompt, add_special=True, parse_special=True)
            self._last_prompt, self._last_tokens = prompt, tokens
        return self._last_tokens.copy()

    def _refusal(self, submit: Submit, tokens: list[int]) -> Rejected | None:
        if not tokens:
            return Rejected(submit.id, "invalid_request", "the prompt is empty: it has no tokens")
        if len(tokens) >= self._context_tokens:
            # "prompt is too long": by these words clients know this error from others.
            msg = (
                f"the prompt is too long: it has {len(tokens)} tokens, the context holds "
                f"{self._context_tokens} for prompt and answer together; shorten the prompt or "
                "raise --context"
            )
            return Rejected(submit.id, "context_length_exceeded", msg)
        return self._unknown(submit.id, tokens, "prompt") or self._unknown(
            submit.id, list(submit.sampling.logit_bias), "logit_bias"
        )

    def _far_too_long(self, message_id: int, text: str) -> Rejected | None:
        """The refusal of a text that would keep this thread busy for nothing."""
        if len(text) <= _SHORT_CHARACTERS:
            return None
        fewest = self._vocabulary.fewest_tokens(text)
        if fewest < self._context_tokens:
            return None
        msg = (
            f"the prompt is too long: it has at least {fewest} tokens, the context holds "
            f"{self._context_tokens}; send less text or raise --context"
        )
        return Rejected(message_id, "context_length_exceeded", msg)

    def _detokenize(self, message: Detokenize) -> None:
        refusal = self._unknown(message.id, list(message.tokens), "tokens")
        if refusal is not None:
            self._send(refusal)
            return
        pieces = b"".join(self._vocabulary.spelling(token) for token in message.tokens)
        self._send(Detokenized(message.id, pieces.decode("utf-8", "replace")))

    def _unknown(self, message_id: int, tokens: list[int], param: str) -> Rejected | None:
        """The refusal of token ids that the vocabulary does not have."""
        size = len(self._vocabulary)
        if tokens and not 0 <= min(tokens) <= max(tokens) < size:
            bad = next(token for token in tokens if not 0 <= token < size)
            msg = f"token {bad} is outside the vocabulary of {size} tokens"
            return Rejected(message_id, "invalid_request", msg, param)
        return None
