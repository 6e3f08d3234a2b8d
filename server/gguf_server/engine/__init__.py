"""The engine process: schedules sequences and computes them. No HTTP, no asyncio, no settings."""
