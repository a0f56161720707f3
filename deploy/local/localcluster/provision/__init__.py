"""The single things that a cluster is made of: binaries from Go modules, Debian packages, Envoy, images."""
