"""The operator as a process between proxies that break what passes: a real API server, a real Prometheus, and a world
of a few lines that plays kubelet, Deployment controller, garbage collector and gateway."""
