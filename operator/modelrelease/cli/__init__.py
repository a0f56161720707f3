"""What people run: the kubectl plugin and the generators of what is published."""
