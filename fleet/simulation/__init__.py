"""THE WORLD IN VIRTUAL TIME: engine, Azure's wire, lab and journal in one deterministic, seeded loop.

Belongs here: scenarios made from seeds, the faults of network, disk and power, the checker of the invariants, the reference
model of the promises, the rehearsal of a playbook. Does not: any behaviour of the engine (``run/``, ``engine/``) or of the
pretend Azure (``lab/``), which are judged here and used as they are.
"""
