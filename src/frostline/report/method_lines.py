"""`frostline show RUN --methods`: the methods paragraph, what it is called, where terms disagree, and the sources."""

from __future__ import annotations

import textwrap

from frostline.bundle.parts import MethodsRecord


def methods_text(methods: MethodsRecord, width: int = 100) -> str:
    """Plain lines, ready to be copied into a paper."""

    def wrap(text: str, indent: str = "") -> str:
        return textwrap.fill(text, max(40, width), subsequent_indent=indent, break_on_hyphens=False,
                             break_long_words=False)  # fmt: skip

    told = [wrap(methods.paragraph), "", wrap(f"Term: {methods.term}.", "  ")]
    if methods.also_called:
        told.append(wrap(f"Also called: {', '.join(methods.also_called)}.", "  "))
    if methods.disputed:
        told.append(wrap(f"Where terms disagree: {methods.disputed}", "  "))
    told += ["", "Sources"] + [wrap(f"- {s.what}: {s.source}", "  ") for s in methods.sources]
    return "\n".join(told) + "\n"
