"""From chat messages to the text that the model continues."""
