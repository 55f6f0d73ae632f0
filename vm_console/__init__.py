"""The consoles of a running VM: who writes them, who keeps them, who is attached."""
