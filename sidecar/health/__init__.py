"""Level 5: asking whether somebody is well, over and over: our own application, peers, and what the application depends on.

A *probe* asks once (``http``, ``tcp``, ``grpc``, ``command``) and answers with a reason in words, or with none. A
*monitor* asks again and again and folds the answers into a *verdict*, which one lost answer does not overturn.
``application``, ``peers`` and ``dependencies`` say whose verdicts there are and who is told of them.
"""
