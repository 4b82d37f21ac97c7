"""Selectors: how much each key of a cache matters; whoever asks keeps the best. One file each."""
