"""Benchmarks: this server beside llama.cpp's own, same build flags, same model, in one run."""
