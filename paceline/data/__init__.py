"""Texts for training and measuring: readers, generators, the tokenizer, and token streams."""
