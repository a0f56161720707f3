"""Serves a YOLOv8 model, exported to ONNX, over HTTP."""
