"""Ways to compute a model, one file or folder each."""
