"""The whole controller over fake ports, with pods that start, traffic that follows weights and time that is injected."""

from simulation.world import Canary, World

__all__ = ["Canary", "World"]
