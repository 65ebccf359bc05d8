"""How the page of a report looks: on a screen, on a phone (each row a card), on paper."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --line: #d0d4da; --soft: #f4f6f8; --dim: #57606a; --text: #1b1f24; --back: #fff;
  --link: #0b5cad; --ready: #1a6b35; --attention: #8a5300; --cannot: #a3161f;
  --ready-back: #dff3e4; --attention-back: #fdf0d2; --cannot-back: #fbdfe0; }
@media (prefers-color-scheme: dark) { :root { --line: #3a4149; --soft: #1d2228; --dim: #9aa4af; --text: #e4e8ec;
  --back: #13171b; --link: #79b8ff; --ready: #7fd99a; --attention: #f0c26a; --cannot: #ff9a9a;
  --ready-back: #14301d; --attention-back: #362809; --cannot-back: #3d1416; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1.5rem 3rem; max-width: 84rem; color: var(--text); background: var(--back);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: .95rem; margin: .6rem 0 .2rem; }
a { color: var(--link); }
code { font: .88em ui-monospace, monospace; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
header p, footer p, .quiet { color: var(--dim); }
.quiet { font-size: .88rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .7rem; padding: 0; list-style: none; }
.tiles li { padding: .5rem 1rem; border-radius: .4rem; min-width: 8rem; }
.tiles b { display: block; font-size: 1.7rem; line-height: 1.2; }
.ready { color: var(--ready); background: var(--ready-back); }
.attention { color: var(--attention); background: var(--attention-back); }
.cannot { color: var(--cannot); background: var(--cannot-back); }
.badge { display: inline-block; padding: .05rem .5rem; border-radius: .3rem; font-size: .82rem; font-weight: 600;
  white-space: nowrap; }
.why { display: block; font-size: .85rem; color: var(--dim); }
.findings li { padding: .15rem 0; }
table { width: 100%; border-collapse: collapse; font-size: .92rem; }
th, td { padding: .35rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { background: var(--soft); white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.guests td:first-child { font-weight: 600; min-width: 6rem; }
.guests td:nth-child(5) { min-width: 13rem; }
.guests td:last-child { min-width: 16rem; }
.notes td:first-child { width: 30%; }
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 0 2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .4rem 0 .8rem; }
dt { color: var(--dim); }
dd { margin: 0; }
@media screen and (max-width: 46rem) {
  body { padding: .6rem .8rem 2rem; }
  thead { display: none; }
  table, tbody, tr, td { display: block; width: 100%; }
  .notes td:first-child { width: 100%; }
  tr { margin: 0 0 .8rem; padding: .3rem .6rem; border: 1px solid var(--line); border-radius: .4rem; }
  td, td.number { display: grid; grid-template-columns: 6.5rem 1fr; padding: .15rem 0; border: 0; text-align: left; }
  td::before { content: attr(data-label); color: var(--dim); font-weight: 400; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .3rem; }
}
@media print {
  :root { --line: #999; --soft: #eee; --dim: #333; --text: #000; --back: #fff; --link: #000; }
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  a { text-decoration: none; }
  section.guest, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  thead { display: table-header-group; }
  .badge, .tiles li { border: 1px solid currentColor; }
}
"""
