"""Learn: one model family per file."""
