"""The screen of a running VM in a browser on this host."""
