"""The style sheet of the build report: light and dark, printable."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root{--ink:#1a1d21;--dim:#5d6670;--paper:#fff;--line:#dfe3e8;--good:#11734b;--bad:#b3261e;
--fp32:#7d8794;--bf16:#2f7ebc;--fp16:#3a9a74;--int8:#d97b18}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--dim:#9aa4ae;--paper:#15181b;--line:#2c3238;--good:#5cc596;
--bad:#ff8a80;--fp32:#98a2ae;--bf16:#5aa9e6;--fp16:#5fc299;--int8:#f0a04b}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:980px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:34px 0 8px}
p{margin:4px 0 10px}.lead{color:var(--dim)}
ul{padding-left:20px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th{text-align:left;color:var(--dim);font-weight:600}
td,th{padding:5px 10px 5px 0;border-bottom:1px solid var(--line);vertical-align:top;font-variant-numeric:tabular-nums}
code{font:12.5px ui-monospace,monospace;overflow-wrap:anywhere}
.chip{display:inline-block;padding:0 8px;border-radius:9px;color:#fff;font-size:12.5px;font-weight:600}
.chip.fp32{background:var(--fp32)}.chip.bf16{background:var(--bf16)}
.chip.fp16{background:var(--fp16)}.chip.int8{background:var(--int8)}
.chart{width:100%;height:auto;display:block;margin:6px 0}
.bar{fill:var(--dim)}.bar.fp32{fill:var(--fp32)}.bar.bf16{fill:var(--bf16)}.bar.fp16{fill:var(--fp16)}
.bar.int8{fill:var(--int8)}
.label{font:12px ui-monospace,monospace;fill:var(--ink);text-anchor:end}.figure{font:12px system-ui;fill:var(--ink)}
.range{stroke:var(--ink);stroke-width:1.2;fill:none}
.good{color:var(--good)}.bad{color:var(--bad)}
.four{display:grid;grid-template-columns:repeat(4,1fr);gap:8px;margin:0 0 14px}
.four p{grid-column:1/-1;margin:6px 0 0;font-size:13px;color:var(--dim)}
figure{margin:0}img{width:100%;display:block;border:1px solid var(--line)}
figcaption{font-size:12px;color:var(--dim)}
details{margin:2px 0 14px}summary{cursor:pointer;color:var(--dim);font-size:13px}
@media print{main{max-width:none}details{display:block}}
"""
