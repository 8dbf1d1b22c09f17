"""The training loop, optimizer, checkpoints."""
