"""Networks from every source, the stage map, cuts, heads and normalisation policies. Nothing heavy is imported here."""
