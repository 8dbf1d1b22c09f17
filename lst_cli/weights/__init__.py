"""Initial weights from files of other people, read without executing anything."""
