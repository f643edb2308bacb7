"""First lines: read as the kernel and ``env`` read them."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.guest.delivery import Delivery, Shell
from fleet.guest.shebang import LONGEST, Shebang, first_line, late_shebang, read_shebang
from fleet.guest.wrapper import wrap
from fleet.guest.wrapper_sh import unwrap


@pytest.mark.parametrize(
    ("script", "path", "argument", "program"),
    [
        ("#!/bin/bash -e\n", "/bin/bash", "-e", "bash"),
        ("#!/bin/sh", "/bin/sh", "", "sh"),
        ("\ufeff#! \t/bin/bash\t -e  -u \t\r\necho\r\n", "/bin/bash", "-e  -u", "bash"),
        ("#!/usr/local/bin/bash\n", "/usr/local/bin/bash", "", "bash"),
        ("#!/usr/bin/env python3\n", "/usr/bin/env", "python3", "python3"),
        ("#!/usr/bin/env -S bash -eu\n", "/usr/bin/env", "-S bash -eu", "bash"),
        ("#!/usr/bin/env -S A=b /opt/bin/perl -w\n", "/usr/bin/env", "-S A=b /opt/bin/perl -w", "perl"),
        ("#!/usr/bin/env -iS -u HOME bash\n", "/usr/bin/env", "-iS -u HOME bash", "bash"),
        ("#!/usr/bin/env --split-string=bash -e\n", "/usr/bin/env", "--split-string=bash -e", "bash"),
        ("#!/usr/bin/env -Spwsh -NoProfile\n", "/usr/bin/env", "-Spwsh -NoProfile", "pwsh"),
    ],
)
def test_what_a_first_line_names(script: str, path: str, argument: str, program: str) -> None:
    """One path, all that follows as one argument, and the program behind ``env``."""
    assert read_shebang(script) == Shebang(path, argument, program)


@pytest.mark.parametrize(
    "script", ["", "echo hi\n", "#!\n/bin/sh", "#! \t \r\n", "# !/bin/sh\n", " #!/bin/sh\n", "\n#!/bin/sh\n"]
)
def test_what_names_nothing(script: str) -> None:
    """Only ``#!`` at the very start, with something behind it on the same line, names an interpreter."""
    assert read_shebang(script) is None


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("#!bash\n", "whole path"),
        ("#!/usr/bin/env\n", "again and again"),
        ("#!/usr/bin/env A=b\n", "again and again"),
        ("#!/usr/bin/env -i\n", "again and again"),
        ("#!/usr/bin/env -S A=b\n", "again and again"),
        ("#!/usr/bin/env A=b bash\n", "as one"),
        ("#!/usr/bin/env python3 -u\n", "as one"),
        ("#!/bin/bash " + "-" * LONGEST + "\n", "longer than the 255 bytes"),
        ("#!/" + "é" * 130 + "\n", "longer than the 255 bytes"),
    ],
)
def test_lines_that_no_linux_runs_as_meant(script: str, why: str) -> None:
    """A line that would be cut, loop, or look for a program of the wrong name says so."""
    found = read_shebang(script)
    assert found is not None and why in found.problem


def test_the_longest_line_is_read_whole() -> None:
    """255 bytes are read, as the kernel does."""
    found = read_shebang("#!/bin/bash ".ljust(LONGEST, "x") + "\n")
    assert found is not None and (found.problem, len(found.argument)) == ("", LONGEST - 12)


@pytest.mark.parametrize(
    ("script", "line"), [("\n\r\n #!/bin/sh\n", 3), (" #!x", 1), ("#!/bin/sh\n", 0), ("\necho\n#!/bin/sh", 0)]
)
def test_a_line_that_comes_too_late_is_found(script: str, line: int) -> None:
    """Blank lines and spaces before ``#!`` make it a comment."""
    assert late_shebang(script) == line


@pytest.mark.parametrize(
    ("line", "looked_up"),
    [
        ("#!/usr/bin/env nope", "nope"),
        ("#!/usr/bin/env -S A=b nope -x", "nope"),
        ("#!/usr/bin/env -S PATH=/opt/bin nope", ""),
        ("#!/usr/bin/env -iS nope", ""),
        ("#!/bin/nope", ""),
    ],
)
def test_what_env_looks_for(line: str, looked_up: str) -> None:
    """Only a program that ``env`` looks for on the script's own search path can be missed beforehand."""
    found = read_shebang(line)
    assert found is not None and found.looked_up == looked_up


_words = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=80)


@given(
    head=st.sampled_from(["#!", "#! ", "\ufeff#!", "#!/usr/bin/env ", ""]),
    text=_words,
    shell=st.sampled_from([Shell.BASH, Shell.SH]),
)
def test_any_first_line_travels(head: str, text: str, shell: Shell) -> None:
    """No first line is refused, changed or misread by the wrapper that carries it."""
    script = head + text
    delivery = Delivery(script, shell, key="k", nonce="0" * 16, timeout=1.0)
    assert unwrap(wrap(delivery)) == delivery
    found = read_shebang(script)
    assert found is None or (first_line(script).startswith("#!") and "\n" not in found.path + found.argument)


_ARGUMENTS = st.text(st.sampled_from("-abcS =\t/'\"$x"), max_size=12)


@given(argument=_ARGUMENTS, gap=st.sampled_from([" ", "\t", " \t "]), lead=st.sampled_from(["", " ", "\t"]))
def test_the_kernel_agrees(argument: str, gap: str, lead: str) -> None:
    """The words that Linux hands to an interpreter are the ones that are read here."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script"
        script.write_text(f"#!{lead}/usr/bin/printf{gap}{argument or '-'}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        found = read_shebang(script.read_text())
        assert found is not None
        words = [found.path, *([found.argument] if found.argument else []), str(script)]
        kernel = subprocess.run([str(script)], capture_output=True, check=False, env=os.environ)
        ours = subprocess.run(words, capture_output=True, check=False, env=os.environ)
        assert (kernel.returncode, kernel.stdout) == (ours.returncode, ours.stdout)
