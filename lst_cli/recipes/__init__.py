"""One flat function a command; a script can call the same."""
