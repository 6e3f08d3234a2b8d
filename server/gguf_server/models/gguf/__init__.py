"""What is in a GGUF file, from its header alone: a local file, a split set, or one far away."""
