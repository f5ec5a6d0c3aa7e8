"""Small pictures as SVG text: a timeline of items, and a line of numbers over time. Every text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from penstock.api.records import ItemSpan

_WIDTH = 1000
_LEFT = 130
_LANE = 18
# For programs that draw SVG without the page's style, such as converters to PDF; the style knows dark screens too.
_FILLS = {"k0": "#9aa5b5", "k1": "#2f74c0", "k2": "#8a63c7", "k3": "#1a7f4b", "kf": "#c0362c"}
_KINDS = {"prepare": "k0", "load": "k1", "copy": "k1", "count": "k2", "publish": "k3"}


def timeline(spans: Sequence[ItemSpan], begin_ms: int, end_ms: int) -> str:
    """A lane for each worker, a bar for each item; what an item was shows when the pointer rests on it."""
    lanes = sorted({(span.job, span.worker) for span in spans})
    height = _LANE * len(lanes) + 24
    scale = (_WIDTH - _LEFT) / max(1, end_ms - begin_ms)
    parts = [_open(height, "items over time, a lane for each worker")]
    for number, (job, worker) in enumerate(lanes):
        y = number * _LANE
        parts.append(f'<text x="0" y="{y + 13}">{escape(_short(f"{job} {worker}"))}</text>')
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y + _LANE - 1}" y2="{y + _LANE - 1}"/>')
    places = {lane: number * _LANE for number, lane in enumerate(lanes)}
    for span in spans:
        x = _LEFT + (span.started_ms - begin_ms) * scale
        width = max(1.0, (span.finished_ms - span.started_ms) * scale)
        style = "kf" if span.state == "failed" else _KINDS.get(span.kind, "k1")
        took = (span.finished_ms - span.started_ms) / 1000
        title = escape(f"{span.key} ({span.kind}): {span.state}, {took:.2f} s, {span.rows:,} rows")
        parts.append(
            f'<rect class="{style}" fill="{_FILLS[style]}" x="{x:.1f}" y="{places[span.job, span.worker] + 2}" width="{width:.1f}" '
            f'height="{_LANE - 5}"><title>{title}</title></rect>'
        )
    parts.append(_axis(height, begin_ms, end_ms))
    return "".join(parts) + "</svg>"


def curve(
    points: Sequence[tuple[int, float]], label: str, show: Callable[[float], str], begin_ms: int, end_ms: int
) -> str:
    """Numbers over time as a filled line; its greatest value is written at the top."""
    height, floor = 120, 96
    top = max((value for _, value in points), default=0.0)
    parts = [_open(height, label)]
    parts.append(
        f'<text x="0" y="14">{escape(label)}</text><text class="dim" x="0" y="30">most {escape(show(top))}</text>'
    )
    if len(points) > 1 and top > 0:
        x_scale = (_WIDTH - _LEFT) / max(1, end_ms - begin_ms)
        line = " ".join(
            f"{_LEFT + (at - begin_ms) * x_scale:.1f},{floor - value / top * (floor - 6):.1f}" for at, value in points
        )
        first, last = _LEFT + (points[0][0] - begin_ms) * x_scale, _LEFT + (points[-1][0] - begin_ms) * x_scale
        parts.append(
            f'<polygon class="area" fill="{_FILLS["k1"]}" fill-opacity="0.18" points="{first:.1f},{floor} {line} {last:.1f},{floor}"/>'
        )
        parts.append(f'<polyline class="line" fill="none" stroke="{_FILLS["k1"]}" points="{line}"/>')
    parts.append(_axis(height, begin_ms, end_ms))
    return "".join(parts) + "</svg>"


def legend(names: Mapping[str, str]) -> str:
    """What the colours of a timeline mean."""
    return "".join(
        f'<span class="key"><i class="{escape(style)}"></i>{escape(name)}</span>' for name, style in names.items()
    )


LEGEND = {"prepare": "k0", "load, copy": "k1", "count": "k2", "publish": "k3", "failed": "kf"}


def _open(height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">'


def _axis(height: int, begin_ms: int, end_ms: int) -> str:
    """Seconds since the run began, at five places."""
    total = (end_ms - begin_ms) / 1000
    parts = []
    for step in range(5):
        x = _LEFT + (_WIDTH - _LEFT) * step / 4
        anchor = "start" if step == 0 else "end" if step == 4 else "middle"
        parts.append(
            f'<text class="dim" x="{x:.0f}" y="{height - 6}" text-anchor="{anchor}">{total * step / 4:.1f} s</text>'
        )
    return "".join(parts)


def _short(text: str) -> str:
    return text if len(text) <= 20 else text[:19] + "…"
