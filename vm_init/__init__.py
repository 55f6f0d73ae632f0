"""Root's half: taps, bridges, PCI devices and owners, by an admin's policy."""
