"""Training: a loop that can be killed, its optimiser and schedule, packed batches, checkpoints and held-out loss."""
