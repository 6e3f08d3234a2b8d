"""The requests we accept: OpenAI's names and limits, and llama.cpp's further parameters.

Nothing is dropped silently. A parameter is used, or it is known to have no effect on the answer, or
it is refused by name. What OpenAI defines and we lack is accepted at its neutral values.
"""
