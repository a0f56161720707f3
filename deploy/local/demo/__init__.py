"""The demonstration: real releases on the local cluster, watched live and measured at the client.

Read `scenes.py` for the play, `stage.py` for what it stands on and `load.py` for the traffic.
"""
