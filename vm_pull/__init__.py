"""Vagrant boxes: a disk image and a description from a catalogue, an URL or a file."""
