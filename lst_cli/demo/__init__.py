"""The data set that `lst demo` draws."""
