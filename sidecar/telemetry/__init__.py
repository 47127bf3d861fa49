"""Level 2: what is known of exchanges afterwards (counters, one record each) and of the tree they belong to (trace)."""
