"""GUESTS THAT REALLY RUN SCRIPTS: sandboxes for Linux, and a played Windows.

In scope: namespaces, folders, package managers, the played parts of Windows.
Out of scope: rules that answer for scripted guests, which are in ``lab.world.scripted``.
"""
