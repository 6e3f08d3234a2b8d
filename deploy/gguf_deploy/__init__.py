"""Plans where a GGUF model can run, and prints the plan for Helm, Compose and Modal."""
