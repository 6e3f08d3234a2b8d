"""The workloads, as data: what each request asks, how many run at once, which number sums it up.

Everything is seeded, so two servers, or two days, get byte-identical prompts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from random import Random
from typing import Any, Literal, Self

Role = Literal["system", "user", "assistant"]
Headline = Literal["output_tokens_per_second", "wall_seconds", "longest_pause_seconds"]

# One token each, after a space, in the vocabulary tried; a Ruler corrects where it is not so.
WORDS = tuple(
    """
    river stone lamp cloud paper engine window forest copper signal garden winter bridge letter
    market silver ocean planet needle harbor mountain table music animal summer doctor school bread
    water island castle train plane flower color road field house village teacher student story
    picture number circle square metal wood glass salt sugar milk coffee apple orange yellow green
    purple brown north south east west morning evening night king queen child mother father brother
    sister friend horse bird fish tiger lion wolf bear snake spider tree leaf root seed fruit grain
    storm thunder rain snow wind sun moon star light shadow sound voice song dance game ball card
    dream sleep
    """.split()  # noqa: SIM905  (108 quoted words read badly)
)


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request as the client sends it, and what the user says next.

    No server may answer more or fewer tokens than asked, except where a schema ends the answer.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    next_messages: tuple[Message, ...] = ()
    schema: Mapping[str, Any] | None = field(default=None, hash=False)

    def after(self, answer: str) -> Self:
        """The conversation's next request: all so far, the answer, the user's next message."""
        first, *rest = self.next_messages
        messages = (*self.messages, Message("assistant", answer), first)
        return replace(self, messages=messages, next_messages=tuple(rest))


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of one request in tokens; the prompt's includes template and system message."""

    num_prompt_tokens: int
    num_output_tokens: int


@dataclass(frozen=True, slots=True)
class Workload:
    """``shapes`` are those of first requests: each may begin a conversation of ``num_turns``, in
    which the user says ``num_next_tokens`` more a turn. Where ``num_slots`` is 0, a server under
    test has as many as there are requests open at once.
    """

    name: str
    sizes: str
    concurrency: int
    shapes: tuple[Shape, ...]
    headline: Headline
    num_system_tokens: int = 0
    num_turns: int = 1
    num_next_tokens: int = 0
    num_slots: int = 0
    schema: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        count = len(self.shapes)
        if count == 1:
            return f"1 stream, {self.sizes}"
        what = f"conversations of {self.num_turns} turns" if self.num_turns > 1 else "requests"
        where = f" on {self.num_slots} slots" if self.num_slots else ""
        return f"{count} {what}, {self.concurrency} at once{where}, {self.sizes}"

    @property
    def num_requests(self) -> int:
        return len(self.shapes) * self.num_turns

    def scaled(self, concurrency: int = 0, num_requests: int = 0) -> Self:
        """The same mixture with another number of requests, or of those open at once."""
        num_requests = num_requests or max(len(self.shapes), concurrency)
        shapes = tuple(islice(cycle(self.shapes), num_requests))
        return replace(self, concurrency=concurrency or self.concurrency, shapes=shapes)


@dataclass(frozen=True, slots=True)
class Ruler:
    """Turns tokens into words for one model: its template's overhead, its tokens per word."""

    tokens_per_word: float
    user_overhead: float
    system_overhead: float

    @classmethod
    def fit(cls, num_words: tuple[int, int], counts: tuple[int, int], with_system: int) -> Self:
        """From the prompt sizes of a short and a long user message, and of the short one below a
        system message of as many words."""
        short, long = num_words
        per_word = (counts[1] - counts[0]) / (long - short)
        user_overhead = counts[0] - per_word * short
        return cls(per_word, user_overhead, with_system - 2 * per_word * short)

    def words(self, num_tokens: float) -> int:
        return max(1, round(num_tokens / self.tokens_per_word))


# Sizes for servers that cannot be asked: one token a word, a template of some thirty tokens.
PLAIN_RULER = Ruler(tokens_per_word=1.0, user_overhead=31, system_overhead=14)

SHORT, CHAT, LONG = Shape(94, 128), Shape(94, 64), Shape(1200, 64)
BEHIND_SYSTEM, BRIEF, OPENING = Shape(940, 32), Shape(48, 16), Shape(300, 32)

# Fills some 80 tokens and then ends by itself, so that every server writes the same kind of answer.
FORM = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 40},
        "kind": {"enum": ["question", "order", "complaint"]},
        "scores": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 999},
            "minItems": 8,
            "maxItems": 8,
        },
        "urgent": {"type": "boolean"},
    },
    "required": ["title", "kind", "scores", "urgent"],
    "additionalProperties": False,
}

# What a server is asked where nobody says what to ask.
STANDARD = (
    Workload(
        name="single",
        sizes="94 in / 128 out",
        concurrency=1,
        shapes=(SHORT,),
        headline="output_tokens_per_second",
    ),
    Workload(
        name="eight",
        sizes="94 in / 64 out",
        concurrency=8,
        shapes=(CHAT,) * 16,
        headline="output_tokens_per_second",
    ),
    Workload(
        name="sixteen",
        sizes="94 in / 64 out",
        concurrency=16,
        shapes=(CHAT,) * 32,
        headline="output_tokens_per_second",
    ),
    Workload(
        name="shared",
        sizes="900-token common system prompt / 32 out",
        concurrency=8,
        shapes=(BEHIND_SYSTEM,) * 16,
        headline="wall_seconds",
        num_system_tokens=900,
    ),
    Workload(
        name="mixed",
        sizes="every fourth prompt 1,200 tokens / 64 out",
        concurrency=8,
        shapes=(CHAT, CHAT, CHAT, LONG) * 4,
        headline="longest_pause_seconds",
    ),
)

# What asks more of it: a queue of its own, memory for prefixes, schemas.
DEMANDING = (
    Workload(
        name="turns",
        sizes="300 in, 40 more a turn / 32 out",
        concurrency=24,
        shapes=(OPENING,) * 24,
        headline="wall_seconds",
        num_turns=6,
        num_next_tokens=40,
        num_slots=8,
    ),
    Workload(
        name="structured",
        sizes="94 in / JSON by one schema out",
        concurrency=8,
        shapes=(Shape(94, 256),) * 16,
        headline="output_tokens_per_second",
        schema=FORM,
    ),
    Workload(
        name="crowd",
        sizes="48 in / 16 out",
        concurrency=200,
        shapes=(BRIEF,) * 200,
        headline="output_tokens_per_second",
        num_slots=8,
    ),
)

WORKLOADS = STANDARD + DEMANDING


def text(seed: str, num_words: int, first: int = 0) -> str:
    """``num_words`` seeded words; ``first`` chooses the second, so that neighbours part at once.

    The fixed first word keeps the count exact: a word without a space before it may split in two.
    """
    rng = Random(seed)  # noqa: S311  (words, no secrets)
    chosen = ["About", WORDS[first % len(WORDS)], *rng.choices(WORDS, k=num_words)]
    return " ".join(chosen[:num_words])


def prompts(workload: Workload, ruler: Ruler, seed: str = "") -> tuple[Prompt, ...]:
    """Another seed makes prompts that no server has seen: it may keep those of an earlier run."""
    name = f"{seed}{workload.name}"
    return tuple(_prompt(workload, name, index, ruler) for index in range(len(workload.shapes)))


def _prompt(workload: Workload, name: str, index: int, ruler: Ruler) -> Prompt:
    shape, seed = workload.shapes[index], f"{name}/{index}"
    num_words = ruler.words(workload.num_next_tokens)
    later = (text(f"{seed}/{turn}", num_words, index) for turn in range(1, workload.num_turns))
    return Prompt(
        _opening(workload, name, index, ruler),
        shape.num_output_tokens,
        tuple(Message("user", each) for each in later),
        workload.schema,
    )


def _opening(workload: Workload, name: str, index: int, ruler: Ruler) -> tuple[Message, ...]:
    num_tokens, seed = workload.shapes[index].num_prompt_tokens, f"{name}/{index}"
    if not workload.num_system_tokens:
        num_words = ruler.words(num_tokens - ruler.user_overhead)
        return (Message("user", text(seed, num_words, index)),)
    head = text(f"{name}/system", ruler.words(workload.num_system_tokens))
    rest = num_tokens - workload.num_system_tokens - ruler.system_overhead
    user = text(seed, ruler.words(rest), index)
    return (Message("system", head), Message("user", user))
