"""The paper's figures, each with its numbers."""
