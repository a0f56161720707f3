"""The whole controller over fake ports: pods that start, traffic that follows weights, time that is injected."""

from simulation.world import Canary, World

__all__ = ["Canary", "World"]
