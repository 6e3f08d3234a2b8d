"""``python -m gguf_deploy`` is ``gguf-deploy``."""

from gguf_deploy.cli import main

main()
