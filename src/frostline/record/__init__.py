"""Composes the record of a run (result.json and the files beside it) from live objects."""
