"""Disk images: what they are, whether they may be used, and how they become another."""
