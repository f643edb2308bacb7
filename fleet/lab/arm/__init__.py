"""THE LAB'S CONTROL PLANE: requests in, answers out, as ARM, Compute and Resource Graph word them.

In scope: routes, rights, throttling, faults, queries, rendering, the HTTP server.
Out of scope: what happens in the world, which is in ``lab.world``.
"""
