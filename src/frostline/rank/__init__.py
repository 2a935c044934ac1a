"""Which source to start from, and at which depth: scores of features, probes and forecasts, before any training."""
