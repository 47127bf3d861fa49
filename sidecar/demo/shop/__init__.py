"""The shop: small services in the styles that people write services in, none with a line about the mesh.

Each listens on ``PORT`` and calls the others by their names, ``http://payments/``: through the proxy that its
environment names, as any program that heeds ``HTTP_PROXY`` does. ``moods`` is how the demo makes one of them slow or
lets it fail.
"""
