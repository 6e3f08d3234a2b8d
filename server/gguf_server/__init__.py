"""OpenAI-compatible server for GGUF models, on llama.cpp, with continuous batching."""

__version__ = "0.1.0"
