"""How many prompt tokens a step may compute without making running streams wait. Pure."""

_MIN_PREFILL_TOKENS = 16
_SMOOTHING = 0.2


class StepPacer:
    """Aims at ``target_seconds`` a step, from the measured cost of a token.

    With no stream running nobody waits, and a step may fill the batch.
    """

    def __init__(
        self, *, target_seconds: float, max_batch_tokens: int, seconds_per_token: float
    ) -> None:
        self._target_seconds = target_seconds
        self._max_batch_tokens = max_batch_tokens
        self._seconds_per_token = seconds_per_token

    def prefill_budget(self, num_decoding: int) -> int:
        """Prompt tokens for the next step, beside ``num_decoding`` tokens of streams."""
        room = self._max_batch_tokens - num_decoding
        if num_decoding == 0:
            return room
        affordable = int(self._target_seconds / self._seconds_per_token) - num_decoding
        return min(room, max(_MIN_PREFILL_TOKENS, affordable))

    def observe(self, num_tokens: int, seconds: float) -> None:
        """Learn from a step that computed prompt tokens; others say nothing about their cost."""
        cost = seconds / num_tokens
        self._seconds_per_token += _SMOOTHING * (cost - self._seconds_per_token)
