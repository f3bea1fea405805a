"""What is published: data files and trained networks, fetched, verified and unpacked."""
