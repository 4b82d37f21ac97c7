"""Tool calls in text: what may be called, how a model writes it, what it writes next."""
