"""What can be wrong with annotations and images, found before training."""
