"""What runs here: state directories, locks, processes, and the frame of all commands."""
