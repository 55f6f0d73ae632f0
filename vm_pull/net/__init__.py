"""Asking web servers, and receiving what they send whatever happens on the way."""
