"""What a box says of its machine, in whichever words."""
