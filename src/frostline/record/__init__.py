"""Composes the record of a run, result.json and its companions, from live objects."""
