"""Level 1: heads and framing. No sockets, no policies: bytes in, heads and bodies out."""
