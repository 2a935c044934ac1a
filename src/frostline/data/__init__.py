"""Reads and checks folders of pictures, splits them (and owns the sealed part), makes every tensor a network sees."""
