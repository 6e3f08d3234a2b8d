"""Model files: where they are and whether they can be served."""
