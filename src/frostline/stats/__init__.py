"""Metrics, intervals, paired comparisons and sample sizes. Pure functions of numpy arrays, on numpy and scipy only."""
