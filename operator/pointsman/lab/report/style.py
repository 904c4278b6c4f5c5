"""The report's style sheet: light and dark, by the reader's own setting."""

from __future__ import annotations

from typing import Final

_LIGHT: Final = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#6e5a00", "#006d77", "#59636e")
_DARK: Final = ("#4493f8", "#f0883e", "#3fb950", "#ab7df8", "#f778ba", "#d4a72c", "#39c5cf", "#9aa4af")


def _colours(colours: tuple[str, ...]) -> str:
    return "".join(f"--c{at}:{colour};" for at, colour in enumerate(colours))


STYLE: Final = (
    f"""
:root{{color-scheme:light dark;--back:#fff;--text:#1b1f24;--dim:#59636e;--line:#d5dae0;--band:#0969da33;
--bad:#b3261e;--good:#1a7f37;{_colours(_LIGHT)}}}
@media(prefers-color-scheme:dark){{:root{{--back:#0d1117;--text:#e6edf3;--dim:#9aa4af;--line:#30363d;
--band:#4493f833;--bad:#ff7b72;--good:#3fb950;{_colours(_DARK)}}}}}
"""
    """
body{background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif;margin:0 auto;
max-width:60rem;padding:1rem 1.5rem 4rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.2rem}h3{font-size:1rem;margin:1.4rem 0 .3rem}
.dim{color:var(--dim)}.Fail,.bad{color:var(--bad)}.Pass,.good{color:var(--good)}
table{border-collapse:collapse;width:100%;font-size:.9rem;display:block;overflow-x:auto}
th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
figure{margin:.4rem 0 1rem;overflow-x:auto}figcaption{font-size:.9rem}
svg{width:100%;min-width:34rem;height:auto;display:block}
svg text{font-size:11px;fill:var(--dim)}svg text.y{text-anchor:end}svg text.x{text-anchor:middle}
svg text.margin{font-size:10px}svg text.fail{fill:var(--bad)}svg text.pass{fill:var(--good)}
.grid{stroke:var(--line)}.line{fill:none;stroke-width:1.8}.band{fill:var(--band)}
line.mark{stroke:var(--dim);stroke-dasharray:2 3}
line.margin{stroke-dasharray:6 4}line.fail{stroke:var(--bad)}line.pass{stroke:var(--good)}
.end{fill:var(--text)}.whisker{stroke:var(--text)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:.2rem 0 0;
padding:0;font-size:.85rem}
.key{display:inline-block;width:1.2rem;height:.25rem;margin-right:.4rem;vertical-align:middle}
summary{cursor:pointer;color:var(--dim)}code{font-size:.9em}
"""
    + "".join(
        f".c{at}{{stroke:var(--c{at})}}.key.c{at}{{background:var(--c{at})}}\n" for at in range(len(_LIGHT))
    )
)
