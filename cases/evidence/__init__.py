"""Simulated studies whose truth is known: what docs/evidence.md is made of."""
