"""One module per command: what it reads, what it finds as plain data, and how that is shown."""
