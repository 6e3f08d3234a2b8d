"""Load and chaos for minutes, then a look at what is left."""
