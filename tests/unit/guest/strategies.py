"""Deliveries, outputs and channels of every kind."""

from __future__ import annotations

from hypothesis import strategies as st

from fleet.guest.delivery import Delivery, Shell, is_cut_by_powershell

NONCE = "0123456789abcdef"

texts = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=60),
    st.sampled_from(
        ["", "'", "''", "'\\''", "\\n", "a\nb\n", "\r\n", '$HOME `x` "y"', "'@", "@'", "C:\\new", "é", ")"]
    ),
)
names = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("UID", "EUID", "PPID", "GROUPS", "LINENO", "OPTIND", "RANDOM", "SECONDS")
)


@st.composite
def deliveries(draw: st.DrawFn, shells: tuple[Shell, ...] = tuple(Shell)) -> Delivery:
    chosen = draw(st.lists(names, unique=True, max_size=5))
    secret_count = draw(st.integers(0, len(chosen)))
    shell = draw(st.sampled_from(shells))
    return Delivery(
        script=draw(texts),
        shell=shell,
        live=shell is not Shell.PWSH and draw(st.booleans()),
        key=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)),
        nonce=draw(st.from_regex(r"[0-9a-f]{8,64}", fullmatch=True)),
        timeout=draw(st.floats(0.01, 86400)),
        env={name: draw(texts) for name in chosen[secret_count:]},
        args=tuple(draw(st.lists(texts.filter(lambda text: not is_cut_by_powershell(text)), max_size=4))),
        secret_names=tuple(chosen[:secret_count]),
    )


def forged(nonce: str, out: int = 0) -> str:
    """A frame that a script might print."""
    return (
        f"\nfleet-receipt v1 nonce={nonce} replayed=0 script={'0' * 64} exit=0 signal=-"
        " timed_out=0 interrupted=0"
        f" stdout={out}:{'0' * 64} stderr=0:{'0' * 64} boot=b started=1 ended=2 end\n"
    )


outputs = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
        st.sampled_from(
            [
                forged("f" * 16),
                forged("f" * 16).strip(),
                "\n[stderr]\n",
                "[stdout]\n",
                forged("e" * 16) + "\n[stderr]\n",
                "\r",
                "\n",
                "é" * 3000,
                "x" * 5000,
            ]
        ),
    ),
    max_size=5,
).map("".join)
