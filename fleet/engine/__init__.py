"""MAKES IT HAPPEN: the one loop between a run's decisions and the world, and the ports it needs of the world.

Belongs here: the protocols Cloud, Inventory and Journal, and the loop. Does not: any decision (``run/``), any protocol
of Azure (``azure/``).
"""
