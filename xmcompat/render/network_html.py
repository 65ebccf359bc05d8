"""The host's networks as one page of HTML that needs nothing else: the drawing, and a plan's steps and tables. Pure.

There is no script, and the page forbids itself all requests.
"""

from __future__ import annotations

from xmcompat.render.network_picture import drawing, esc, words
from xmcompat.render.network_text import difference
from xmcompat.render.network_values import Picture, Plan

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --back: #fff; --dim: #57606a; --line: #c3c9d1; --soft: #f4f6f8;
  --card: #e3ecf8; --bridge: #fdf0d2; --guest: #dff3e4; --overlay: #efe3f8; --gone: #a3161f; --come: #1a6b35; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ec; --back: #13171b; --dim: #9aa4af; --line: #444d57;
  --soft: #1d2228; --card: #1c2c42; --bridge: #3a2d0e; --guest: #14301d; --overlay: #2f1f3d; --gone: #ff9a9a;
  --come: #7fd99a; } }
body { margin: 0 auto; padding: 1rem 1.5rem 3rem; max-width: 110rem; color: var(--text); background: var(--back);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
.picture { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
svg text { font: 12px ui-monospace, monospace; fill: var(--dim); }
svg .name { font: 600 14px system-ui, sans-serif; fill: var(--text); }
svg rect { fill: var(--soft); stroke: var(--line); }
svg path { fill: none; stroke: var(--dim); stroke-width: 1.5; }
svg .card rect { fill: var(--card); } svg .bridge rect { fill: var(--bridge); }
svg .guest rect { fill: var(--guest); } svg .overlay rect, svg .peer rect { fill: var(--overlay); }
svg .ours rect { stroke: var(--text); stroke-width: 2; }
pre { background: var(--soft); padding: .5rem .8rem; border-radius: .3rem; overflow-x: auto; font-size: .88em; }
.gone { color: var(--gone); } .come { color: var(--come); } .quiet { color: var(--dim); }
"""


def page(picture: Picture, plan: Plan | None = None) -> str:
    """The whole page. With a PLAN the picture is the host as it will be."""
    title = f"Networks of {esc(picture.host)}"
    shown = " as they will be" if plan is not None and not plan.empty else ""
    notes = "".join(f"<p>{esc(note)}</p>" for note in picture.notes)
    parts = [
        "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">', '<meta name="referrer" content="no-referrer">',
        f"<title>{title}</title>", f"<style>{_STYLE}</style>", "</head>", "<body>", f"<h1>{title}{shown}</h1>",
        f'<p class="quiet">{words(picture.groups)}. Thick frames are what xmcompat has made.</p>',
        f'<div class="picture">{drawing(picture)}</div>', notes, _plan(plan) if plan else "",
        "</body>", "</html>",
    ]  # fmt: skip
    return "\n".join(filter(None, parts)) + "\n"


def _plan(plan: Plan) -> str:
    parts = ["<h2>Steps</h2>"]
    parts += [f"<p>{'<b>Warning:</b> ' if warns else ''}{esc(text)}</p>" for text, warns in plan.remarks]
    if plan.confirm:
        parts.append(f"<p><b>This needs --confirm:</b> {esc(plan.confirm)}.</p>")
    for network in plan.networks:
        parts.append(f"<h3>{esc(network.name)}: {esc(network.what)}</h3>")
        if not network.actions:
            parts.append('<p class="quiet">It is there already.</p>')
        items = "".join(f"<li>{esc(one.text)}<pre>{_lines(one.command)}</pre></li>" for one in network.actions)
        parts.append(f"<ol>{items}</ol>" if items else "")
    for change in plan.changes:
        rows = "\n".join(_row(line) for line in difference(change.before, change.after))
        parts.append(f"<h2>{esc(change.title)}</h2><pre>{rows}</pre>")
    return "".join(parts)


def _lines(text: str) -> str:
    return "\n".join(esc(line) for line in text.split("\n"))


def _row(line: str) -> str:
    kind = {"-": "gone", "+": "come"}.get(line[:1])
    return f'<span class="{kind}">{esc(line)}</span>' if kind else esc(line)
