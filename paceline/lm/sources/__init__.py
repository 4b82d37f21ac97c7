"""Where models come from, and which of them can be decoded."""
