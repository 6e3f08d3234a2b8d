"""The HTTP side: OpenAI's shapes, probes, and nothing that waits for the engine unasked."""
