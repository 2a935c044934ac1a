"""What happens to the weights: recipes, the catalogue of strategies, the literature's terms. Data only, no torch."""
