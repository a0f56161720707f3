"""Trains, evaluates and exports YOLOv8 models with ultralytics (AGPL-3.0); never part of the runtime image."""
