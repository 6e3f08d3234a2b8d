"""The hub, through huggingface_hub: what a repository holds, where its bytes are."""

from huggingface_hub import HfApi

_api = HfApi(library_name="gguf-server")
