"""Level 5: where the endpoints of services come from."""
