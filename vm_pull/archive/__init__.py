"""A box as bytes: decompressed, taken apart, written with holes."""
