"""One library each: what the ports promise, kept with Kubernetes, Istio, Prometheus and kopf."""
