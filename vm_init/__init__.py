"""vm-init: root's half. It gives a user what the admin's policy allows, and takes it back."""
