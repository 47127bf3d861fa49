"""What several tests share: a sidecar over fakes in virtual time (``world``)."""
