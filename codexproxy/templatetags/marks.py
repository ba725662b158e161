"""The many marks and cells of a chart, each kind joined in one go.

As nodes of a template, one by one, they were half of the overview's time.
"""

from __future__ import annotations

from collections import defaultdict

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from codexproxy.charts import HEIGHT, Chart, Row

register = template.Library()


@register.filter
def columns(chart: Chart) -> SafeString:
    """What is seen of it: a path for each colour."""
    places: dict[str, list[str]] = defaultdict(list)
    for rect in chart.rects:
        places[rect.mark].append(f"M{rect.x} {rect.y}h{rect.width}v{rect.height}h-{rect.width}z")
    return format_html_join(
        "", '<path class="cp-mark-{}" d="{}"/>', ((mark, "".join(found)) for mark, found in places.items())
    )


@register.filter
def touches(chart: Chart) -> SafeString:
    """Over each column's whole place, its figures in words."""
    return format_html_join(
        "",
        '<rect class="cp-mark-touch" x="{}" y="0" width="{}" height="{}">'
        '<title data-at="{}">{} · {}</title></rect>',
        ((row.x, row.width, f"{HEIGHT:g}", row.iso, row.utc, row.words) for row in chart.rows),
    )


@register.filter
def lines(chart: Chart) -> SafeString:
    """The same as rows of a table."""
    return format_html_join("", "{}", ((_line(row),) for row in chart.rows))


def _line(row: Row) -> SafeString:
    return format_html(
        '<tr><th scope="row"><time class="cp-number" datetime="{}" data-local="">{}</time></th>{}</tr>',
        row.iso,
        row.utc,
        format_html_join("", '<td class="cp-number">{}</td>', ((cell,) for cell in row.cells)),
    )
