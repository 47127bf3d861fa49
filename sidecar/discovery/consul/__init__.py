"""The registry of a Consul cluster, through the agent beside us.

``agent`` is the wire: py-consul's client, tamed, and the only place that knows it. ``instances`` is what we make of an
answer. ``registration`` keeps our own entry there, ``watch`` follows the services that are called, ``outage`` is what
both of them do when the agent is in trouble, and ``registry`` puts them together as a source.

Nobody imports this who has another registry: the client costs 13 MB.
"""
