"""What the screen of a running VM shows, and how it is asked for."""
