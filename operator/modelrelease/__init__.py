"""Progressive delivery of model-serving images on Kubernetes and Istio."""

__version__ = "0.1.0"
