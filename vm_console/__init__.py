"""vm-console: the terminal, or a browser, on a running machine."""
