"""The registry that everybody has: names, asked again and again.

A name in DNS is a list of addresses with a time for which it holds. So a service is asked for when that time has run
out, never sooner than ``min_ttl`` and never later than ``max_ttl``, and what comes back is told if it is news. Nobody can
be registered: whoever writes the zone does that.

An answer that there is nothing is an answer. Whether an empty one is to be believed of a service that had endpoints is
for the layer above to say (``certain`` is false). No answer, or one that makes no sense, changes nothing: what was known
stays, and the question is asked again, after a second at first and after half a minute at last.

``settings`` is what can be configured, ``naming`` which question a service is, ``resolver`` how one question is asked,
``lookup`` what all of a service's answers come to, ``registry`` the part that the app sees, ``asking`` the question of
``sidecar check``.
"""
