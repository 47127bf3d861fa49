"""The comparison: what one request costs in this sidecar, and what it costs in the proxies that people use today.

The question is how much processor a proxy takes from the application beside it. So the first figure of every table is
**CPU per request**: user plus system time of the proxy's processes, from the kernel's own accounts, divided by the
requests that were answered. Requests per second and latency stand beside it, but they also measure the load generator,
the origin and whoever else is using the machine; CPU per request suffers least from them.

Three habits make the figures worth comparing:

- **Cores apart.** The proxy under test has one core to itself; origin and load generator share the other.
- **Interleaved.** A round runs every proxy once and each round begins with another one, so a slow minute of the machine
  falls on all of them. A ratio is taken inside a round; what is printed is the median over the rounds.
- **Like with like.** One worker thread each, two endpoints, keep-alive on both sides, and in Envoy the policies that
  are on by default here: retries with a budget, outlier detection, circuit breakers. Requests that fail are shown, and
  a sidecar with failed requests has no speed to speak of.

Reading order: ``__main__`` (what can be asked) → ``workplace`` (what surrounds a measurement) → ``speed`` (the
measurement itself); ``idle``, ``latency``, ``bodies`` and ``grpc`` are the other questions. What they find leaves as
``figures`` in ``results``, a file that ``compare`` holds against another one and ``chart`` draws.
"""
