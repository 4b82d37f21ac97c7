"""One file for each paper: its headline again, at a size for two CPU cores, with null levels, seeds and intervals."""
