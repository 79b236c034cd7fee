"""What the benchmark report adds to the style sheet that it shares with the build report."""

from __future__ import annotations

from typing import Final

from cutline.engine.report_style import STYLE as SHARED

__all__ = ["STYLE"]

# Stages by what is done in them: waiting is grey. The hues stay apart for the colour-blind (Okabe and Ito).
_OWN: Final = """
:root{--decode:#4fa3d8;--copy:#d99a00;--wait:#c3cad2;--pre:#0b8f6a;--network:#1467a8;--post:#cf5a10;
--wait_sink:#a3acb6;--sink:#b8629b;--grid:#e9ecf0;--on:#fff;--quiet:#22262b}
@media(prefers-color-scheme:dark){:root{--decode:#6ab9ea;--copy:#e8b23a;--wait:#4a525b;--pre:#3cb992;--network:#4f9bdb;
--post:#ee8444;--wait_sink:#656f7a;--sink:#d78fbd;--grid:#23282d;--on:#101316;--quiet:#e6e9ec}}
h1,.lead{overflow-wrap:anywhere}h3{font-size:15px;margin:22px 0 4px}
.two{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(400px,100%),1fr));gap:10px 20px}
.two h3{margin-top:6px}
.grid{stroke:var(--grid);fill:none}.tick{font:11px system-ui,sans-serif;fill:var(--dim)}
.mark{stroke:var(--bad);stroke-dasharray:5 3;fill:none}.due{stroke:var(--ink);fill:none}
.line{fill:none;stroke-width:2}.dot{stroke:none}.line0{stroke:var(--network)}
.line1{stroke:var(--post);stroke-dasharray:7 3}.line2{stroke:var(--pre);stroke-dasharray:2 2}
.line3{stroke:var(--sink);stroke-dasharray:9 2 2 2}.line4{stroke:var(--copy)}
.line5{stroke:var(--dim);stroke-dasharray:4 4}
.range.line1,.range.line2,.range.line3,.range.line5{stroke-dasharray:none}
.dot.line0{fill:var(--network)}.dot.line1{fill:var(--post)}.dot.line2{fill:var(--pre)}.dot.line3{fill:var(--sink)}
.dot.line4{fill:var(--copy)}.dot.line5{fill:var(--dim)}
.legend{list-style:none;padding:0;margin:0 0 8px;display:flex;flex-wrap:wrap;gap:2px 18px;font-size:13px}
.key{width:26px;height:8px;margin-right:6px;vertical-align:middle}.swatch{width:11px;height:11px;margin-right:6px}
.decode{fill:var(--decode)}.copy{fill:var(--copy)}.wait{fill:var(--wait)}.pre{fill:var(--pre)}
.network{fill:var(--network)}.post{fill:var(--post)}.wait_sink{fill:var(--wait_sink)}.sink{fill:var(--sink)}
.stage.odd{fill-opacity:.62}.stage.lost{stroke:var(--bad);stroke-width:1.4}
.inside{font:12px system-ui,sans-serif;fill:var(--on);text-anchor:middle}
.inside.wait,.inside.copy,.inside.wait_sink{fill:var(--quiet)}
.warn{color:var(--bad);font-size:13px}.dim{color:var(--dim);font-weight:400}
.number{white-space:nowrap}td.across{padding-top:16px}
@media print{:root{--ink:#1a1d21;--dim:#5d6670;--paper:#fff;--line:#dfe3e8;--grid:#e9ecf0}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}body{font-size:12px}h2,h3{break-after:avoid}
figure,tr,.chart{break-inside:avoid}.wide{overflow:visible}.two{grid-template-columns:1fr 1fr}
td,th{padding:3px 8px 3px 0}}
"""

STYLE: Final = SHARED + _OWN
