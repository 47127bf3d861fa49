"""The policies: each answers one question about a call and keeps the counts that it needs for it.

Nothing here acts, waits, or knows a socket. Whoever runs a request asks, passing ``now`` in monotonic seconds, and does
what the answers say; that is why every rule can be tested in virtual time.
"""
