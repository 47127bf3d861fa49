"""The registry that needs no server: sidecars on one machine find each other through files in a directory.

Each sidecar keeps one small file there, which says who it is, where it can be reached, and which process it belongs to.
The others read it. There is nothing else: no lock, no leader, no format to migrate; a directory that somebody deletes
is there again within a second. The whole of it rests on three facts.

A file appears whole or not at all, because it is written under another name and renamed. A file is only ever written by
its owner, because its name ends in a number drawn by it. And whether an owner lives is asked of the system, not of the
file: its process is there, and is the one that wrote the file (``owner``). Only where that cannot be asked, between
containers that share the directory, does the heartbeat count, which is the time of the file's last change.

``directory`` is the file system with its traps, ``announcement`` what stands in a file, ``post`` our own file, ``view``
what we make of the others', ``registry`` the part that the app sees, ``running`` the question of the command line.
"""
