"""Whether two configurations are the same, told without showing either."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from sidecar.config.schema import Config


def fingerprint(config: Config) -> str:
    """32 hexadecimal digits, the same for configurations that mean the same, in every process."""
    # Networks are written as text; tables in the order of their keys, which means nothing.
    written = msgspec.json.encode(config, enc_hook=str, order="deterministic")
    return blake2b(written, digest_size=16).hexdigest()
