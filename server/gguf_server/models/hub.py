"""The hub, through huggingface_hub: what a repository holds, where its bytes are."""
