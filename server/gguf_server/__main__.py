"""``python -m gguf_server`` is ``gguf-server``."""

from gguf_server.cli import main

main()
