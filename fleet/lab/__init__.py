"""THE PRETEND CLOUD: an ARM server on loopback whose guests really run scripts.

It knows ARM, not Fleet: nothing here imports Fleet's client, plan or run, and they meet on the wire only.
Belongs here: the world, guests, operations, throttling, faults, the server. Does not: how Fleet starts a lab
(``app``). ``world`` is pure, and so is ``arm`` but for
its server and certificates: one request and the time in, one answer out. ``guests`` really run scripts.
"""
