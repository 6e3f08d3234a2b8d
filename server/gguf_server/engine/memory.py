"""What a model still remembers of a sequence once it is cut or moved. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Memory:
    """How a model keeps what it has read; the defaults are attention to all of it.

    ``window_tokens``: some layers see only so many tokens, the newest included, and lose the cells
    of older ones; 0 for none. ``exact``: part of the memory is a state that every token changes,
    so a sequence can go on from where it stands but never be cut.
    """

    window_tokens: int = 0
    exact: bool = False

    def first_needed(self, num_tokens: int) -> int:
        """The oldest position that a token after ``num_tokens`` others still looks at."""
        return max(0, num_tokens - self.window_tokens + 1) if self.window_tokens else 0

    def lendable(self, wanted: int, held: int, first: int) -> int:
        """``wanted`` leading tokens if they can be had of ``held`` ones, else 0.

        ``first`` is the oldest position of which no layer has lost its cell.
        """
        if self.exact:
            return wanted if wanted == held else 0
        return wanted if first <= self.first_needed(wanted) else 0

    def first_saved(self, num_tokens: int) -> int:
        """The ``first`` of a saved state: llama.cpp leaves out what no later token looks at."""
        return max(0, num_tokens - self.window_tokens) if self.window_tokens else 0
