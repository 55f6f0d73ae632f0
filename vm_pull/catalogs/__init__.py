"""Where a box is: registries, catalogs, versions, and what Vagrant has on this host."""
