"""TEXT TO DOCUMENTS: YAML with the place of everything in it, and every problem at once.

In scope: reading YAML and files that a person names, tables of keys, problems with their places.
Out of scope: what a key means, which is in the package whose document it is.
"""
