"""What must exist before a cluster can start: binaries from Go modules, Debian packages, Envoy, images."""
