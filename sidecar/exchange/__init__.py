"""Level 4: the sans-IO machine of one request, and the seams it needs."""
