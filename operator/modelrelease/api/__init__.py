"""What users write and read: the ModelRelease, and what is published about it."""
