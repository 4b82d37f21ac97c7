"""Draft heads: a decoder block or more that reads a target's keys and values."""
