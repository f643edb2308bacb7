"""What goes over the wire to Azure and back: requests built, answers read. Pure.

Each rule cites where it is known from. Does not: sending (``azure/transport.py``).
"""
