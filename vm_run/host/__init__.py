"""What FreeBSD answers differently. Untested on FreeBSD."""
