"""HTTP/1: the grammar, heads as raw bytes, and the three ways in which a body can be framed."""
