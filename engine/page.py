"""What the HTML reports share: the page around them, and tables. One file, no scripts, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["page", "table"]


def page(title: str, body: Sequence[str], style: str) -> str:
    """A whole document; the title is text, the body HTML."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head>'
        f"<body><main>{''.join(body)}</main></body></html>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Headings are text, cells are HTML already; a row of one cell goes across all columns."""
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body = "".join(f"<tr>{_cells(row, len(head))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(row: Sequence[str], columns: int) -> str:
    if len(row) == 1 < columns:
        return f'<td colspan="{columns}" class="across">{row[0]}</td>'
    return "".join(f"<td>{cell}</td>" for cell in row)
