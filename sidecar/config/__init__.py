"""Level 6: the configuration: how it is written (``schema``, ``units``), read (``walk``) and resolved (``load``)."""
