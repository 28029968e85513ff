"""The training loop and the story of a run."""
