"""Models of our own: plain modules with `save_pretrained` and `from_pretrained`."""
