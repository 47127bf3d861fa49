"""Level 5: the thin skins between an exchange and the world: listeners, connections both ways, the pool, the loop's timer."""
