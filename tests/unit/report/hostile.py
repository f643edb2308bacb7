"""What an attacker who owns a VM would print, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

CLASSICS = (
    "\x1b[2J\x1b]8;;http://evil\x07click\x1b]8;;\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b31m",
    "all good\rFAILED",
    "\u202egnp.exe",
    "\ud800",
    "\x00\x07\x08\x7f",
    "</script><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]><evil/>",
    '" onmouseover="alert(1)',
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% for x in y %}",
    "=cmd|' /C calc'!A0",
    " \u200b=1+1",
    "\t@SUM(1)",
    "-1+1",
    "＝1+1",
    "a | b | c\n| --- | --- |\n```\nout of the fence\n````",
    "@everyone #1 https://evil.example www.evil.example [x](http://evil)",
    "line\u2028separator\u2029\x85\x0b\x0c",
    "\ufffe\uffff\U000e0001",
    "C:\\Windows\\x41",
    "a\u3164\u034f\ufe0f\U000e0101b",
)

texts = st.one_of(
    st.sampled_from(CLASSICS),
    st.text(alphabet=st.characters(), max_size=60),
    st.lists(st.sampled_from(CLASSICS), min_size=2, max_size=4).map("".join),
)
"""All of Unicode, lone surrogates included, and the classics, alone and joined."""
