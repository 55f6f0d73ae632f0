"""vm-stop: asks a machine to power off."""
