"""Cuts any network in two, exactly: recorder, stage map, cuts and their proof."""
