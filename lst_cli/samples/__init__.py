"""A phase's training set: position in training to tensors."""
