"""HTTP/2 without a socket: frames, field compression, flow control and the machine of a connection (RFC 9113)."""
