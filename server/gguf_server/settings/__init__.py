"""The options of every verb, and all that is read from the environment. Nobody else reads it."""
