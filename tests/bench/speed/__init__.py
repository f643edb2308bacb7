"""In scope: how fast Fleet is, in virtual time and beside other clients. Out of scope: whether it is right."""
