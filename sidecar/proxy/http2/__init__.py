"""HTTP/2 on sockets: connections of both sides, and what they have to write."""
