"""After the race: the verdict and its refit, and what the stored predictions show beyond it."""
