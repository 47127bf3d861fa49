"""Level 6: what a sidecar says about itself, from snapshots that the app hands in."""
