"""Phase arithmetic: numpy and the standard library, no images, no network."""
