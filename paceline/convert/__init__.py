"""A model made into another one, or into another file: one file a conversion."""
