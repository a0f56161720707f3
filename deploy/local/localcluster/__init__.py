"""A real Kubernetes with Istio and Prometheus on this one machine, without containers around it.

Read `cluster.py` for the whole and `controlplane.py` for the small one that integration tests start.
"""
