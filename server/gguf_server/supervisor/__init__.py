"""The API process's side of the engine: its life, the open requests, what is measured."""
