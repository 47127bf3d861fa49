"""A small mesh on one machine, to look at and to break: ``sidecar demo``, or ``make run``.

Customers ask ``web`` for pages; it asks ``orders`` and ``catalog``, and orders asks one of two ``payments``. Each is a
process tree of its own, the application beside its sidecar, in the style that somebody would write it in, and none of
the applications has a line about the mesh (``shop``). What goes wrong is put right by the sidecars.

``topology`` says who there is, ``crew`` keeps the processes and sees that nothing is left of them, ``places`` finds the
sidecars in the registry, and ``mesh`` puts these together. ``readings`` asks the sidecars, ``interval`` and ``story``
make figures and sentences of two readings, and ``lines`` or ``view`` shows them; both are a ``front``. ``wishes`` is what
one can have done, and ``run`` is the loop around it all.
"""
