"""Reads and checks folders of images, splits them (and owns the sealed part), makes every tensor a network sees."""
