"""Makes `fakes` importable: pytest puts the folder of this file on the path."""

from hypothesis import settings

settings.register_profile("modelrelease", deadline=None)  # how long an example takes is the machine's business
settings.load_profile("modelrelease")
