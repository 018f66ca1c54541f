"""The demo checkpoint: its weights, and the recipe that made them."""
