"""Annotation files as columns of numbers, read without holding the file."""
