"""Views and activations: computed once, stored, tapped at every cut."""
