"""Translates a Keras model, layer by layer, into a torch module."""
