"""What a model costs here, and what to do about it."""
