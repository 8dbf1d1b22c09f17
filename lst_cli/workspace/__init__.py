"""The only code that knows the workspace directory."""
