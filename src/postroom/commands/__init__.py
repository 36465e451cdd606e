"""The `postroom` command line."""
