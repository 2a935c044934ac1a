"""The record and what people read of it: composes result.json, draws tables. Computes nothing new."""
