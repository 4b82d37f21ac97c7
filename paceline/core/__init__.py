"""Requests, sequences, proposals and the laws that decide on them: data and Protocols, no model."""
