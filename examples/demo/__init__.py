"""A small mesh on one machine: ``python -m examples.demo``, or ``make run``.

Three kinds of programs, each in a process of its own, and each talking only to its sidecar:

- *shop* is the driver (``load``), which asks for orders at a steady rate; its sidecar has no application behind it
- *orders* (``orders``) is one instance; every order asks for a payment
- *payments* (``payments``) is two instances; both fail now and then, and the second is ill for a while in every half
  minute

A request goes shop > shop's sidecar > orders' sidecar > orders > orders' sidecar > a sidecar of payments > payments.
What payments does wrong is put right in one place, the outbound side of orders' sidecar: another try goes to the other
instance, and the breaker takes the ill one out of the choice. The applications have not a line of code about it.

``topology`` says who there is and how their sidecars are configured, ``children`` starts and ends processes, ``watch``
reads what a sidecar counts, ``report`` makes lines of it, and ``__main__`` puts it all together.
"""
