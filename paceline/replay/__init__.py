"""Drafters on recorded texts: acceptance without a model."""
