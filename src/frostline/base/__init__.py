"""Records shared by all layers, errors, seeds, device rules, events and hashing. Imports no other frostline package."""
