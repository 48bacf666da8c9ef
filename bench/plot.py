"""bench/plot.py - one picture of latencies: percentile by percentile, both
axes stretched so that the last thousandth has as much room as the first half."""
import html
import math
import os

from measure import KEPT, percentile_us

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 860, 460, 70, 40, 190, 50
TICKS = (0, 50, 90, 99, 99.9, 99.99)
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#16a085",
           "#7f8c8d", "#2c3e50")


def x_of(percent):
    nines = -math.log10(1 - min(percent, 99.99) / 100)
    return LEFT + nines / 4 * (WIDTH - LEFT - RIGHT)


def curve(histogram):
    points = [i / 2 for i in range(0, 200)] + \
        [99.5 + i / 100 for i in range(0, 50)]
    return [(p, max(1.0, percentile_us(histogram, p))) for p in points]


def text(x, y, words, anchor="middle", colour="#333"):
    return ('<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>'
            % (x, y, anchor, colour, html.escape(words)))


def grid(low, high, y_of):
    for percent in TICKS:
        x = x_of(percent)
        yield '<path d="M%.1f %dV%d" stroke="#ddd"/>' % (x, TOP,
                                                        HEIGHT - BOTTOM)
        yield text(x, HEIGHT - BOTTOM + 18, "p%g" % percent)
    for power in range(low, high + 1):
        y = y_of(10 ** power)
        yield '<path d="M%d %.1fH%d" stroke="#ddd"/>' % (LEFT, y,
                                                        WIDTH - RIGHT)
        yield text(LEFT - 8, y + 4, "%g ms" % (10 ** power / 1000), "end")


def percentiles(name, title, lines):
    """lines: {label: histogram}; leaves build/bench/NAME.svg."""
    curves = {label: curve(histogram) for label, histogram in lines.items()}
    values = [us for points in curves.values() for _, us in points]
    low = math.floor(math.log10(min(values)))
    high = math.ceil(math.log10(max(values) + 1))

    def y_of(us):
        share = (math.log10(us) - low) / max(1, high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
             'font-family="sans-serif" font-size="12">' % (WIDTH, HEIGHT),
             '<rect width="100%" height="100%" fill="white"/>',
             text(LEFT, TOP - 16, title, "start")]
    parts += grid(low, high, y_of)
    for i, (label, points) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = "L".join("%.1f %.1f" % (x_of(p), y_of(us)) for p, us in points)
        parts.append('<path d="M%s" fill="none" stroke="%s" '
                     'stroke-width="2"/>' % (path, colour))
        parts.append(text(WIDTH - RIGHT + 12, TOP + 12 + 18 * i, label,
                          "start", colour))
    parts.append("</svg>")
    with open(os.path.join(KEPT, name + ".svg"), "w",
              encoding="utf-8") as file:
        file.write("\n".join(parts) + "\n")
