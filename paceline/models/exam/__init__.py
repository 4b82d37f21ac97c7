"""Text classification by explicit interaction: every word is scored against every class before anything is pooled."""
