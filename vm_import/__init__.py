"""Other programs' command lines and files, read into this project's own language."""
