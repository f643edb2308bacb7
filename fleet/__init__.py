"""Fleet: one playbook over a whole fleet of Azure VMs, one report you can prove.

Data flows one way, and the packages are named after its stages::

    text -> playbook -> targets -> plan -> run (effects <-> events) -> report

``targets guest playbook plan run report`` are pure: no I/O, no clock, no randomness.
``engine`` makes a run happen, ``azure`` is the real cloud, ``lab`` the pretend one, ``store`` the
memory on disk, ``app`` the only place where they are put together, ``cli`` the terminal. Beneath them all, ``documents``
(with ``positions``, ``sentences`` and ``keys``) turns YAML text into positioned, validated values, ``settings`` is the
table of the config's keys, and ``files`` reads what a person
names, and ``codec`` turns frozen values into JSON and back.
"""
