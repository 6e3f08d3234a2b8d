"""The model directory: what is there, what is verified, who is working on it, what may go."""
