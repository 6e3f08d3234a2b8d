"""The verbs of ``gguf-deploy``, as a terminal or a script sees them."""
