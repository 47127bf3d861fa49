"""Level 3: which plan a request goes by, and the plans."""
