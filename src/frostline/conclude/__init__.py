"""After the race: the verdict and its refit, and what the stored predictions tell beyond it."""
