"""Drafters: what might come next, cheaply. One file each; the file's name is the drafter's name."""
