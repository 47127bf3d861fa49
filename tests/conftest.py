"""What all tests share: property tests that find the same examples everywhere and do not mind a slow machine."""

from hypothesis import settings

settings.register_profile("sidecar", derandomize=True, deadline=None, database=None)
settings.load_profile("sidecar")
