"""A trained network fitted to unlabelled data of another distribution, and the choice among ways to do so."""
