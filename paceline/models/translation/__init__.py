"""Translation models: an encoder, and a decoder that writes a sentence in one pass, or token by token."""
