"""A conversation in a terminal, with any OpenAI-compatible server."""
